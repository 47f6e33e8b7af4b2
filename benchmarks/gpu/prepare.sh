#!/usr/bin/env bash
# Prepares .gpu/ at the top of the checkout for a check on a GPU machine without a network: packages, data and the commit.
# Fails if .gpu/ and the files that git does not ignore take 64 MiB or more. See README.md beside this file.
#   bash benchmarks/gpu/prepare.sh [FOLDER_OF_CIFAR100]       in any format that ltrun reads; data/ unless given
# Variable: PYTHON, an interpreter with ltrun and pip (.venv/bin/python)
set -eu
CIFAR=$(realpath "${1:-data}")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
PYTHON=${PYTHON:-.venv/bin/python} LIMIT=$((64 * 2**20))
mkdir -p .gpu/whl

# Pure Python, 0.4 MB, in the versions installed for PYTHON. pip builds the wheel of antlr4 from source.
needed=(hydra-core omegaconf antlr4-python3-runtime)
for package in "${needed[@]}"; do
  if compgen -G ".gpu/whl/${package//-/_}-*.whl" >/dev/null; then continue; fi
  version=$("$PYTHON" -c 'import sys; from importlib.metadata import version; print(version(sys.argv[1]))' "$package")
  "$PYTHON" -m pip wheel --quiet --no-deps --wheel-dir .gpu/whl "$package==$version"
done

[[ -f .gpu/data/train.parquet ]] || "$PYTHON" -m ltrun data export dataset=cifar100_lt "dataset.root=$CIFAR" to=.gpu/data
git rev-parse HEAD >.gpu/COMMIT
printf '%s\n' '#!/usr/bin/env bash' 'exec bash "$(dirname "${BASH_SOURCE[0]}")/../benchmarks/gpu/gpu_check.sh"' >.gpu/gpu_check.sh

travels() { { git ls-files -z --cached --others --exclude-standard; find .gpu -type f -print0; } | du -b --total --files0-from=-; }
bytes=$(travels 2>/dev/null | tail -n 1 | cut -f 1)
if ((bytes >= LIMIT)); then
  echo "$((bytes / 2**20)) MiB would travel, but the limit is 64 MiB; make the largest files smaller:" >&2
  travels 2>/dev/null | head -n -1 | sort -rn | head -n 6 >&2
  exit 1
fi
echo "$((bytes / 2**20)) of 64 MiB travel; on the GPU machine, at the top of the checkout: bash .gpu/gpu_check.sh"
