#!/usr/bin/env bash
# A chat bot of curl and jq: follows a session as Server-Sent Events and answers what users write. Put your model into `answer`.
# Any number of copies may run: an answer is posted whole, under the same id by each, so one is kept. It never answers a bot.
# Start it with: ATTUNE_URL=... BOT_TOKEN=... bash examples/bot.sh SESSION
set -uo pipefail
session=${1:?usage: bot.sh SESSION}
url="${ATTUNE_URL:-http://127.0.0.1:4100}/v1/sessions/$session"
curl=(curl -sS --connect-timeout 5)
[ -n "${BOT_TOKEN:-}" ] && curl+=(-H "Authorization: Bearer $BOT_TOKEN")
last_id='' settings='{}'

# Your model goes here: settings and message, both JSON, to the answer's text. It quotes at most 1000 characters. What may be
# long goes through pipes: arguments of a program have a limit.
answer() {
  jq -jn 'input as $settings | input as $message | ($settings.options // {}) as $options
    | "\($settings.model // "no model") as \($settings.mode // "no mode") at temperature \($options.temperature // 1)"
    + " read \($message.content | tojson | .[:1000])." | split(" ")[:$options.max_tokens // 500] | join(" ")' <<<"$1 $2"
}

# Stands for a message (JSON) in ids: its id where that fits into one of at most 128 characters, else the SHA-256 of it in hex.
key_of() {
  jq -er '.id | select(test("^[!-~]{1,122}\\z"))' <<<"$1" || jq -j .id <<<"$1" | sha256sum | cut -d ' ' -f 1
}

# Posts until it is taken or refused for good. The same key is carried out once, however often and by whomever it is sent.
post() { # key, body
  local status
  while true; do
    status=$("${curl[@]}" --max-time 10 -o /dev/null -w '%{http_code}' "$url/messages" \
      -H 'Content-Type: application/json' -H "Idempotency-Key: $1" --data-binary @- <<<"$2")
    case $status in 000 | 429 | 5??) sleep 1 ;; *) break ;; esac
  done
  echo "$1: $status"
}

follow() { # one event, JSON
  local message key body
  case $(jq -r .event <<<"$1") in
    session:snapshot)
      settings=$(jq -c .session.settings <<<"$1")
      echo "answering in $session"
      ;;
    settings:updated) settings=$(jq -c .settings <<<"$1") ;;
    session:deleted)
      echo "$session was deleted" >&2
      exit 0
      ;;
    message:added)
      message=$(jq -c '.message | select(.role == "user" and .author.kind != "bot")' <<<"$1")
      [ -z "$message" ] && return
      # Commits come in their order: these are the settings that were in force when the message was written.
      key=$(key_of "$message")
      body=$(answer "$settings" "$message" | jq -Rsc --arg key "$key" --argjson id "$(jq .id <<<"$message")" \
        '{id: "reply-\($key)", role: "assistant", content: ., metadata: {inReplyTo: $id}}')
      post "reply:$key" "$body"
      ;;
  esac
}

trap 'exit 0' TERM INT
trap 'kill $! 2>/dev/null' EXIT
"${curl[@]}" --retry 5 --retry-connrefused -f -o /dev/null -X PUT "$url" || exit 1
# The stream ends with its server; the next one begins after the last commit that was seen.
while true; do
  while IFS= read -r line; do
    case $line in
      id:*) next_id=${line#id: } ;;
      data:*) follow "${line#data: }" && last_id=${next_id:-} ;;
    esac
  done < <(exec "${curl[@]}" -N -f ${last_id:+-H "Last-Event-ID: $last_id"} "$url/events")
  sleep 1
done
