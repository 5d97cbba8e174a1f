"""What each stage of a release does, one module per task group. No Airflow operators here."""
