"""The registry measured beside MLflow and beside bare boto3, in one run on one machine."""
