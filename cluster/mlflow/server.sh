#!/usr/bin/env bash
# The MLflow server of a team or a cluster; runs in the foreground until Ctrl-C.
#
#   cluster/mlflow/server.sh URI_FILE ARTIFACTS [HOST [PORT]]
#
# URI_FILE: a file that holds the backend store's URI (cluster/mlflow/postgres.sh makes one; sqlite:///FILE works too).
# ARTIFACTS: a folder or bucket for policies and tables; clients send them through the server.
# HOST: 127.0.0.1 by default; on a cluster the server's address in the private network of the nodes. Whoever reaches
# HOST:PORT may write, so never a public address; from a laptop use a tunnel: ssh -L 5000:HOST:5000 NODE
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }

MLFLOW_BACKEND_STORE_URI=$(cat "$1") # not as an option: the URI holds a password, which ps would show
export MLFLOW_BACKEND_STORE_URI MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
exec "${PYTHON:-python}" -m mlflow server --artifacts-destination "$2" --host "${3:-127.0.0.1}" --port "${4:-5000}" \
    --workers "${MLFLOW_WORKERS:-4}"
