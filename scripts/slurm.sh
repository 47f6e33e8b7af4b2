#!/bin/sh
# One node of a real SLURM on this machine, for the tests of hydra/launcher=slurm: Debian's packages, a configuration of its
# own in the folder DIR, which an installed SLURM does not read, and no daemon of the system.
#
#     scripts/slurm.sh start DIR     installs what is missing, and starts; needs root
#     scripts/slurm.sh stop DIR
set -eu
DIR=$(mkdir -p "$2" && cd "$2" && pwd)
NAME=$(hostname -s)

stop() {
    for daemon in slurmd slurmctld munged; do
        [ ! -f "$DIR/$daemon.pid" ] || kill "$(cat "$DIR/$daemon.pid")" 2>/dev/null || true
    done
}

[ "$1" = start ] || { stop; exit; }
[ "$(id -u)" = 0 ] || { echo "ltrun: the daemons of SLURM need root: run the command as root" >&2; exit 1; }
command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null || {
    command -v apt-get >/dev/null || { echo "ltrun: install slurmctld, slurmd and munge first" >&2; exit 1; }
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends slurm-wlm munge
}
stop
mkdir -p -m 755 "$DIR/state" "$DIR/spool"
# RequeueExit: what ltrun exits with when a signal has stopped it. cred_expire: else a job waits two minutes to begin again.
cat > "$DIR/slurm.conf" <<CONF
ClusterName=ltrun
SlurmctldHost=$NAME(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$DIR/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd.pid
SlurmctldLogFile=$DIR/slurmctld.log
SlurmdLogFile=$DIR/slurmd.log
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
RequeueExit=143
KillWait=20
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName=$NAME NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$NAME Default=YES MaxTime=INFINITE State=UP
CONF
[ -f "$DIR/munge.key" ] || { head -c 1024 /dev/urandom > "$DIR/munge.key"; chmod 400 "$DIR/munge.key"; }
export SLURM_CONF="$DIR/slurm.conf"
munged --force --key-file "$DIR/munge.key" --socket "$DIR/munge.socket" --pid-file "$DIR/munged.pid" \
    --log-file "$DIR/munged.log" --seed-file "$DIR/munge.seed"
slurmctld -c -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF"
for _ in $(seq 60); do
    [ "$(sinfo -h -o %T 2>/dev/null)" != idle ] || { echo "ltrun: SLURM runs; export SLURM_CONF=$SLURM_CONF"; exit; }
    sleep 0.5
done
tail -n 20 "$DIR/slurmctld.log" "$DIR/slurmd.log" >&2
exit 1
