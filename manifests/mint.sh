#!/bin/sh
# Plays the partner of the sandbox: mints a share token for each session named, one a line.
# Needs curl, and the variables that `didit-sync sandbox` prints.
set -eu
: "${DIDIT_BASE_URL:?}" "${DIDIT_APPLICATION_ID:?}" "${PARTNER_DIDIT_API_KEY:?}"
for session in "$@"; do
  answer=$(curl --silent --show-error --fail --request POST "$DIDIT_BASE_URL/v3/session/$session/share/" \
    --header "x-api-key: $PARTNER_DIDIT_API_KEY" --header 'Content-Type: application/json' \
    --data "{\"for_application_id\": \"$DIDIT_APPLICATION_ID\", \"ttl_in_seconds\": 3600}")
  printf '%s\n' "$answer" | sed -n 's/.*"share_token": *"\([^"]*\)".*/\1/p'
done
