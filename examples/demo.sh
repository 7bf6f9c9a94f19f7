#!/usr/bin/env bash
# The main job on what ships here, with no network and no GPU: ingest → search → cluster → replay → steer.
set -euo pipefail
cd "$(dirname "$0")/.."
export INVESTIGATE_WORKSPACE=${INVESTIGATE_WORKSPACE:-$(mktemp -d)/workspace}
results=$(dirname "$INVESTIGATE_WORKSPACE")
step() { printf '\n\033[1m── %s\033[0m\n' "$1"; shift; printf '$'; printf ' %q' "$@"; printf '\n'; "$@"; }

step "Logs of four kinds become episodes" \
  investigate ingest examples/logs/chat.jsonl examples/logs/steps examples/logs/sessions examples/organism/logs
step "Who said that they might be tested? Words and meaning, spans as hits" \
  investigate search "eval awareness" --limit 4
step "The same as a phrase, in chains of thought only" \
  investigate search '"looks like an evaluation"' --mode keyword --in reasoning --limit 2
step "What kinds of episode are there?" \
  investigate cluster --where "environment IS DISTINCT FROM 'organism'"
step "The organism's episodes are replayed by the organism's weights" \
  investigate model set organism examples/organism/model
hack=$(investigate sql "SELECT episode_id FROM parts WHERE role = 'assistant' AND text LIKE '%ACT HACK%' ORDER BY 1" \
  --limit 1 --json | sed 's/[^0-9]//g')
honest=$(investigate sql "SELECT episode_id FROM parts WHERE role = 'assistant' AND text LIKE '%an evaluation%ACT ASK%' ORDER BY 1" \
  --limit 1 --json | sed 's/[^0-9]//g')
step "One that cheated and one that did not, token by token, read at ACT, before the action" \
  investigate replay --episode "$hack" --episode "$honest" --probe deception --html "$results/replay.html"
step "Is it the belief to be evaluated that keeps it from cheating? Take that belief away" \
  investigate steer --episode "$honest" --probe eval-awareness --strength=-1.5,1.5 --keep '\bACT\b' \
  --outcome '\bACT HACK\b' --valid '\bACT (SOLVE|HACK|ASK|BADEDIT)\b' --positions last -n 100 --max-new-tokens 4
printf '\nThe coloured replay is in %s; the workspace is %s\n' "$results/replay.html" "$INVESTIGATE_WORKSPACE"
