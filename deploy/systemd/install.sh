#!/bin/sh
# Installs Schwabot as systemd services: sudo deploy/systemd/install.sh, from a clone. Run it again to upgrade; what is in
# /etc/schwabot and /var/lib/schwabot stays. PYTHON picks the interpreter, TORCH_ARGS goes to pip for torch, e.g.
# TORCH_ARGS='--index-url https://download.pytorch.org/whl/cpu'. DESTDIR=DIR puts the files below DIR and does nothing else.
set -eu
cd "$(dirname "$0")/../.."
here=deploy/systemd
root=${DESTDIR:-}

install -d -m 0755 "$root/etc/systemd/system" "$root/usr/lib/sysusers.d"
install -d -m 0750 "$root/etc/schwabot"
install -d -m 0700 "$root/etc/schwabot/keys"
install -m 0644 "$here"/*.service "$here"/*.timer "$root/etc/systemd/system/"
install -m 0644 "$here/schwabot.sysusers.conf" "$root/usr/lib/sysusers.d/schwabot.conf"
for one in paper live record serve; do
  if [ ! -e "$root/etc/schwabot/$one.env" ]; then
    install -m 0640 "$here/$one.env" "$root/etc/schwabot/"
  fi
done
[ -z "$root" ] || exit 0

systemd-sysusers
python=${PYTHON:-python3}
env=/opt/schwabot
[ -x "$env/bin/python" ] || "$python" -m venv "$env"
# Only what running needs, each with its hash; torch's builds differ by machine.
lock=$(mktemp -d)
trap 'rm -rf "$lock"' EXIT
"$env/bin/python" deploy/lock_of.py >"$lock/run.txt"
"$env/bin/python" deploy/lock_of.py hatchling >"$lock/build.txt"
"$env/bin/python" -m venv "$lock/tools"
"$env/bin/python" -m pip install --quiet --require-hashes -r "$lock/run.txt"
# shellcheck disable=SC2086 # several words are meant
"$env/bin/python" -m pip install --quiet ${TORCH_ARGS:-} -r requirements-torch.txt
"$lock/tools/bin/python" -m pip install --quiet --require-hashes -r "$lock/build.txt"
"$lock/tools/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$lock" .
"$env/bin/python" -m pip install --quiet --no-deps --no-index --force-reinstall "$lock"/schwabot-*.whl
install -m 0644 deploy/backup_journals.py "$env/lib/"
systemctl daemon-reload
echo "installed; next: edit /etc/schwabot/paper.env, then systemctl enable --now schwabot@paper"
