# The works of bench-peers, which reads this file: for each a function work_NAME, and one for everybody who does it, which prints a rate.
# shellcheck shell=bash

# Models. Each of these makes what is not there yet.
random_model() { # SHAPE
  [[ -e $1/model.safetensors ]] || { say "writing random weights of $1" && "$worker" bench --shape "$1" --dtype bf16 --save "$1"; }
  [[ -z ${TOKENIZER-} || -e $1/tokenizer.model ]] || cp "$TOKENIZER" "$1/tokenizer.model"
}
gguf() { # DIR
  [[ -e $1.gguf ]] && return
  say "writing $1.gguf"
  peer python3 scripts/convert.py "$1" "$1.tmp" && mv "$1.tmp" "$1.gguf" || die "$1.gguf: $(tail -n 3 peer.log)"
}
q4() { # DIR
  gguf "$1"
  [[ -e $1-q4_0.gguf ]] || peer llama-quantize "$1.gguf" "$1-q4_0.gguf" Q4_0 "$threads" >/dev/null || die "quantizing: $(tail -n 3 peer.log)"
}

# tuned KEY FUNCTION CANDIDATE... prints the candidate, a list of words, with which FUNCTION gives the greatest rate. Each is tried twice, but for
# those that come to less than half of the best at first.
tuned() {
  local key=tuned.$1 f=$2 best=0 rate c try
  declare -A first
  shift 2
  if [[ ! -e $key ]]; then
    for try in 1 2; do
      for c in "$@"; do
        ((try == 1)) || awk -v a="${first[$c]}" -v b="$best" 'BEGIN {exit !(2 * a >= b)}' || continue
        rate=$("$f" $c) || rate=0
        first[$c]=${rate:=0}
        if [[ $rate == 0 ]]; then say "${key#tuned.}: $c failed: $(tail -n 1 peer.log)"; else say "${key#tuned.}: $c: $rate"; fi
        if awk -v a="$rate" -v b="$best" 'BEGIN {exit !(a > b)}'; then best=$rate && echo "$c" >"$key"; fi
      done
    done
  fi
  [[ -e $key ]] || die "${key#tuned.}: no setting works: $WORK/peer.log says more"
  cat "$key"
}

# llama.cpp. A setting begins with "plain" or "blas": its own kernels, or its BLAS backend beside them.
llama() { # TOOL plain|blas ARGUMENTS...
  local tool=$1 with=$2
  shift 2
  if [[ $with == blas ]]; then peer env GGML_BACKEND_PATH="$blas" "$tool" "$@"; else peer "$tool" "$@"; fi
}
both() { # prints each setting, and again with BLAS where there is one
  local c
  for c in "$@"; do echo "plain $c" && { [[ -z $blas ]] || echo "blas $c"; }; done
}
llama_bench() { # plain|blas MODEL ARGUMENTS...
  local with=$1 model=$2
  shift 2
  llama llama-bench "$with" -m "$model" -t "$threads" -r 1 -o jsonl "$@" | field avg_ts
}
pp_setting() { llama_bench "$1" "$model" -p 512 -n 0 --no-warmup "${@:2}"; }
tg_setting() { llama_bench "$1" "$model" -p 0 -n 32 "${@:2}"; }
pp512() { llama_bench ${pp%% *} "$1.gguf" -p 512 -n 0 ${pp#* }; }
tune_pp() { # DIR
  local model=$1.gguf list
  mapfile -t list < <(both "-fa off -ub 512" "-fa on -ub 512" "-fa on -ub 256")
  tuned "pp.$1" pp_setting "${list[@]}"
}
tune_tg() { local model=$1.gguf && tuned "tg.$1" tg_setting "plain -fa off" "plain -fa on"; }

ours_bench() { # ARGUMENTS...
  own "$worker" bench "$@" --repeat 1 --threads "$threads" --json | field rate
}

work_prefill() {
  random_model "$shape" && gguf "$shape" && pp=$(tune_pp "$shape")
  contest prefill tokens prefill_ours llama-bench_pp
}
prefill_ours() { ours_bench "$shape" --work prefill --prompt 512; }
llama-bench_pp() { pp512 "$shape"; }

work_decode-1() {
  random_model "$shape" && gguf "$shape" && tg=$(tune_tg "$shape")
  contest decode-1 tokens decode_ours llama-bench_tg
}
decode_ours() { ours_bench "$shape" --work decode-1 --gen 128; }
llama-bench_tg() { llama_bench ${tg%% *} "$shape.gguf" -p 0 -n 128 ${tg#* }; }

work_decode-16() {
  random_model "$shape" && gguf "$shape" && local model=$shape.gguf
  batched=$(tuned "batched.$shape" batched_setting "plain -fa off" "plain -fa on") || die "llama-batched-bench: $(tail -n 3 peer.log)"
  contest decode-16 tokens decode16_ours llama-batched-bench
}
decode16_ours() { ours_bench "$shape" --work decode-16 --gen 128; }
batched_bench() { # TOKENS plain|blas ARGUMENTS...
  llama llama-batched-bench "$2" -m "$shape.gguf" -t "$threads" -c 4096 -npp 1 -ntg "$1" -npl 16 --output-format jsonl "${@:3}" | field speed_tg
}
batched_setting() { batched_bench 16 "$@"; }
llama-batched-bench() { batched_bench 128 $batched; }

work_int4() {
  random_model "$int4_shape" && q4 "$int4_shape" && tg=$(tune_tg "$int4_shape-q4_0")
  contest int4 tokens int4_ours llama-bench_q4_0
}
int4_ours() { ours_bench "$int4_shape" --quantize i4g128 --work decode-1 --gen 128; }
llama-bench_q4_0() { llama_bench ${tg%% *} "$int4_shape-q4_0.gguf" -p 0 -n 128 ${tg#* }; }

# Perplexity of a text: whole commands, from their start to their end, with loading and tokenizing; llama-bench's prompts alone.
work_stories() {
  need STORIES WIKITEXT
  [[ -e stories ]] || cp -rL "$STORIES" stories
  text stories "${STORIES_WORKERS-$threads}" "${STORIES_WINDOWS-0}"
}
work_wikitext() {
  need TOKENIZER WIKITEXT
  random_model llama-160m
  text llama-160m "${WIKITEXT_WORKERS-1}" "${WIKITEXT_WINDOWS-64}"
}
text() { # MODEL WORKERS WINDOWS
  text_model=$1 text_workers=$2 text_windows=$3
  [[ -e wiki.test.raw ]] || cp "$WIKITEXT" wiki.test.raw
  # transformers would make its fast tokenizer anew at each start: it gets one made before.
  [[ -e $1/tokenizer.json ]] || peer python3 scripts/tokenizer.py "$1" >/dev/null || die "the tokenizer: $(tail -n 3 peer.log)"
  gguf "$1" && pp=$(tune_pp "$1")
  torch=$(tuned "torch.$1" torch_setting "float32 --batch 1" "float32 --batch 2" "float32 --batch 4" "float32 --batch 8" "bfloat16 --batch 1" "bfloat16 --batch 4")
  printf 'datasets = ["text"]\n[[dataset]]\nabbr = "text"\nmode = "rolling"\ntest = { path = "wiki.test.raw", unit = "file" }\nrolling.seq_len = 512\n
[[models]]\nabbr = "m"\npath = "%s"\n' "$1" >text.toml
  local work=wikitext
  [[ $1 != stories ]] || work=stories
  contest "$work" tokens text_ours llama-bench_text llama-perplexity transformers
  say "perplexities: ours $(cat text.ours), transformers $(cat text.torch); llama-perplexity counts other tokens"
  awk -v a="$(cat text.ours)" -v b="$(cat text.torch)" 'BEGIN {exit !(a < 1.01 * b && b < 1.01 * a)}' || die "$work: the two scored different texts"
}
text_ours() {
  local s n
  rm -rf text.run
  s=$(timed own "$submit" text.toml --worker "$worker" -w text.run --max-num-workers "$text_workers" --limit "$text_windows") || return 1
  n=$(cat text.run/*/scores.json | field n)
  cat text.run/*/scores.json | field value >text.ours
  per $((n * 512)) "$s"
}
llama-bench_text() { pp512 "$text_model"; }
llama-perplexity() {
  local s chunks=$text_windows
  ((chunks)) || chunks=-1
  s=$(timed llama llama-perplexity ${pp%% *} -m "$text_model.gguf" -f wiki.test.raw -c 512 --chunks "$chunks" -t "$threads") || return 1
  per $(($(cat timed.out peer.log | sed -n 's/.*calculating perplexity over \([0-9]*\) chunks.*/\1/p') * 512)) "$s"
}
torch_text() { # WINDOWS DTYPE ARGUMENTS...
  peer python3 scripts/perplexity.py "$text_model" wiki.test.raw --windows "$1" --threads "$threads" --dtype "${@:2}"
}
torch_setting() { torch_text "$3" "$@" >timed.out && per "$(field tokens <timed.out)" "$(field seconds <timed.out)"; }
transformers() {
  local s
  s=$(timed torch_text "$text_windows" $torch) || return 1
  field perplexity <timed.out >text.torch
  per "$(field tokens <timed.out)" "$s"
}

# Ranking: rows a second, of models that are loaded and warm.
work_rank() {
  random_model llama-160m && gguf llama-160m
  local list
  mapfile -t list < <(both "1" "4" "8")
  server=$(tuned server.llama-160m server_setting "${list[@]}")
  ranker=$(tuned ranker.llama-160m ranker_setting "float32 --attention sdpa" "float32 --attention eager" "bfloat16 --attention sdpa")
  contest rank rows rank_ours rank-alone llama-server transformers_rank
}
rank_ours() { ours_bench llama-160m --work rank --rows "$rank_rows"; }
rank-alone() { ours_bench llama-160m --work rank-alone --rows 8; }
llama_server() { # ROWS plain|blas SLOTS
  local prefix=()
  [[ $2 != blas ]] || prefix=(env "GGML_BACKEND_PATH=$blas")
  peer "${prefix[@]}" python3 scripts/rank-llama-server.py llama-160m.gguf --rows "$1" --slots "$3" --threads "$threads" | field rate
}
server_setting() { llama_server 16 "$@"; }
llama-server() { llama_server "$rank_rows" $server; }
torch_rank() { # ROWS DTYPE ARGUMENTS...
  peer python3 scripts/rank-transformers.py llama-160m --rows "$1" --batch 8 --threads "$threads" --dtype "${@:2}" | field rate
}
ranker_setting() { torch_rank 1 "$@" --batch 2 --choices 2; }
transformers_rank() { torch_rank 2 $ranker; }

# Two figures that are held against a bound, not against a peer.
work_memory() {
  need TOKENIZER
  random_model "$shape"
  local rss anon weights=$(($(stat -c %s "$shape/model.safetensors") / 1024))
  awk -v n="$memory_rows" 'BEGIN {for (i = 0; i < n; i++)
    printf "{\"q\": \"%c%c %c%c\", \"options\": [\"A\", \"B\", \"C\", \"D\"], \"answer\": \"%d\"}\n", 97 + i % 20, 97 + i / 20 % 20, 97 + i / 400 % 20, 97 + i / 8000 % 20, i % 4}' >short.jsonl
  cat >memory.toml <<T
datasets = ["short"]
[[models]]
abbr = "m"
path = "$shape"
[[dataset]]
abbr = "short"
mode = "clp"
test = { path = "short.jsonl" }
answer = "answer"
[dataset.prompt]
context = "The following are multiple choice questions (with answers) about the letters of the alphabet. Read each question with care and answer with the letter of the one choice that is right.\n{q}\nAnswer:"
choices = "options"
T
  rm -rf memory.run
  (exec "${limit[@]}" "$submit" memory.toml --worker "$worker" -w memory.run --max-num-workers 1 >/dev/null 2>own.log) &
  watch_memory $! >memory.kb || die "memory: $(tail -n 3 own.log)"
  read -r rss anon <memory.kb
  (($(cat memory.run/*/scores.json | field n) == memory_rows)) || die "memory: not all rows were scored: $WORK/memory.run"
  awk -v r="$rss" -v a="$anon" -v w="$weights" -v n="$memory_rows" 'BEGIN {
    printf "memory    %d rows: %.0f MiB at most, of it %.0f MiB anonymous; the weights are %.0f MiB: %.0f MiB over them (to be below 1024)\n",
      n, r / 1024, a / 1024, w / 1024, (r - w) / 1024}' | tee memory.txt
  note memory "the weights, $((weights / 1024)) MiB" "$(((rss - weights) / 1024)) MiB over them" "$((rss / 1024)) MiB for $memory_rows rows" "1024 MiB over them"
}
# watch_memory PID prints the most memory, and the most of it that no file backs, that a worker below PID held, in KiB.
watch_memory() {
  local rss=0 anon=0 p v
  while kill -0 "$1" 2>/dev/null; do
    for p in $(pgrep -P "$1" || true); do
      v=$(awk '/^VmHWM/ {h = $2} /^RssAnon/ {a = $2} END {print h + 0, a + 0}' "/proc/$p/status" 2>/dev/null) || continue
      rss=$((${v% *} > rss ? ${v% *} : rss)) anon=$((${v#* } > anon ? ${v#* } : anon))
    done
    sleep 0.2
  done
  wait "$1" && echo "$rss $anon"
}

work_startup() {
  random_model "$shape"
  cat "$shape/model.safetensors" >/dev/null # into the page cache
  local i list="" s
  for ((i = 0; i < rounds; i++)); do
    s=$(timed own "$worker" logits "$shape" --ids 1 --raw /dev/null --threads "$threads") || die "startup: $(tail -n 3 own.log)"
    list+="$s"$'\n'
  done
  s=$(printf %s "$list" | median)
  printf 'startup   %.2f s from the start of the program to the logits of a first token, %s in the page cache (to be below 2 s)\n' "$s" \
    "$(du -hL --apparent-size "$shape/model.safetensors" | cut -f1)"
  note startup "2 s" "" "$(printf '%.2f s' "$s")" "2 s"
}
