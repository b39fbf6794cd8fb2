#!/bin/sh
# Prints the path of a Python that can run this project, or says what is missing and ends 1.
# A name on PATH proves nothing (pyenv leaves shims for versions that are switched off): each candidate is run.
set -u

floor='import sys; sys.exit(sys.version_info < (3, 11))'

for name in ${PYTHON:-python3.13 python3.12 python3.11 python3.14 python3 python}; do
  if command -v "$name" >/dev/null 2>&1 && "$name" -c "$floor" >/dev/null 2>&1; then
    exec "$name" -c 'import sys; print(sys.executable)'
  fi
done

if [ -n "${PYTHON:-}" ]; then
  echo "make: PYTHON=$PYTHON is not a Python 3.11 or later; name another one, or leave PYTHON unset" >&2
else
  found=$(python3 --version 2>&1) || found="no python3"
  echo "make: Python 3.11 or later is needed and was not found on PATH (found: $found)." >&2
  echo "      Install it (Debian 12, Ubuntu 24.04: apt install python3; macOS: brew install python@3.13)," >&2
  echo "      or say where it is: make PYTHON=/path/to/python3.11 ..." >&2
fi
exit 1
