#!/bin/sh
# Brings the record to the newest schema and puts the administrator's token in force: what has to be
# done once before anything else starts, and may be done again.
set -eu
ngpu db upgrade
ngpu token create admin --role admin --from "$ADMIN_TOKEN_FILE"
