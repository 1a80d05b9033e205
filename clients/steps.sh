# What every script in shell has in common: steps with a name, and a count of those that passed. Sourced.
made=0 passed=0

# step NAME COMMAND…: the command has to succeed.
step() {
  local name=$1
  shift
  made=$((made + 1))
  if output=$("$@" 2>&1); then passed=$((passed + 1)); else echo "FAILED $name: $* ended with $?: $output" >&2; fi
}

# same NAME WANTED COMMAND…: the command has to print this.
same() {
  local name=$1 wanted=$2
  shift 2
  made=$((made + 1))
  output=$("$@" 2>&1)
  if [ "$output" = "$wanted" ]; then passed=$((passed + 1)); else echo "FAILED $name: $* printed '$output', not '$wanted'" >&2; fi
}

# fails NAME CODE TEXT COMMAND…: the command has to end with this code and say this.
fails() {
  local name=$1 code=$2 text=$3 found=0
  shift 3
  made=$((made + 1))
  output=$("$@" 2>&1) || found=$?
  if [ $found = "$code" ] && [[ $output == *"$text"* ]]; then
    passed=$((passed + 1))
  else
    echo "FAILED $name: $* ended with $found (not $code): $output" >&2
  fi
}

# Waits ten seconds until the command succeeds.
until_ok() {
  for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
  "$@"
}

finish() {
  echo "$passed of $made"
  [ $passed = $made ]
}
