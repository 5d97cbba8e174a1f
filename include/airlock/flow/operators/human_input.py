"""What every task that asks people has in common: the request that Airflow shows is the one that is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.standard.operators.hitl import HITLOperator

from airlock.errors import GateRefused

if TYPE_CHECKING:
    from airflow.sdk import Context


class ParkedOperator(HITLOperator):
    """Asks people in Airflow, anew after each answer; nothing in it is a template: it holds what strangers wrote."""

    template_fields = ()

    def show(self, context: Context) -> None:
        """Open the request in Airflow, or write what is asked now over the one that is open.

        :raises GateRefused: Airflow shows another request than this one, so the answer would be to something else
        """
        from airflow.sdk.api.datamodels._generated import HITLUser
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        asked = self.assigned_users or []
        wanted = CreateHITLDetailPayload(
            ti_id=context["ti"].id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            multiple=False,
            params=self.serialized_params,
            assigned_users=[HITLUser.model_validate(one) for one in asked],
        )
        shown = SUPERVISOR_COMMS.send(msg=wanted)
        people = {user.id for user in getattr(shown, "assigned_users", None) or ()}
        if getattr(shown, "body", None) != self.body or people != {user["id"] for user in asked}:
            raise GateRefused(
                "Airflow still shows an earlier request, so an answer would be to something else than what is asked: "
                "see that the plugin airlock is loaded by the api-server, then clear this task again"
            )
