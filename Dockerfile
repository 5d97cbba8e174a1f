# One image for every Airflow component: the triggerer, the scheduler and the API server need the same code as the workers.
FROM apache/airflow:3.3.2-python3.11

# The programs that drivers call: pg_dump and pg_restore of the newest PostgreSQL (they read older servers too), and git.
USER root
RUN apt-get update \
    && apt-get install -y --no-install-recommends git postgresql-common \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install -y --no-install-recommends postgresql-client-18 \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/*
# A new named volume takes over the owner of the folder that it is mounted on.
RUN install -d -o airflow -g 0 -m 0770 /opt/airlock \
    /opt/airlock/ledger /opt/airlock/evidence /opt/airlock/backups /opt/airlock/backups-replica /opt/airlock/scratch \
    /opt/airlock/anchor /opt/airlock/last-good /opt/airlock/log-in

USER airflow
COPY --chown=airflow:0 requirements.txt constraints.txt /opt/airflow/
RUN pip install --no-cache-dir -r /opt/airflow/requirements.txt -c /opt/airflow/constraints.txt
COPY --chown=airflow:0 airlock /opt/airflow/airlock
COPY --chown=airflow:0 include /opt/airflow/include
COPY --chown=airflow:0 plugins /opt/airflow/plugins
COPY --chown=airflow:0 dags /opt/airflow/dags
ENV PYTHONPATH=/opt/airflow/include
