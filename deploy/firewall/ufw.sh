#!/bin/sh
# The same with ufw: sudo LAN=192.168.1.0/24 deploy/firewall/ufw.sh. DRY=--dry-run only shows what would be done.
set -eu
LAN=${LAN:?say which net may reach the dashboard, e.g. LAN=192.168.1.0/24}
ufw() { command ufw ${DRY:+"$DRY"} "$@"; }
ufw default deny incoming
ufw default allow outgoing
ufw allow proto tcp from "$LAN" to any port 22 comment 'ssh'
ufw allow proto tcp from "$LAN" to any port 8080 comment 'schwabot dashboard'
ufw allow proto tcp from "$LAN" to any port 8443 comment 'schwabot dashboard, TLS'
# cluster=ray on several machines: ufw allow proto tcp from WORKERS to any port 6379, and to the ports that Ray is told.
echo "next: ufw enable (keep a second session open the first time)"
