#!/bin/sh
# Becomes the first process of a container: called in fresh mount, process and host-name namespaces.
#   container.sh FOLDER COMMAND…
# FOLDER holds hostname, mounts ("source target [ro]" a line), tmpfs ("target options" a line), user (a
# number, or nothing for root), capabilities (as setpriv takes them), data_limit (KiB of memory of its own
# that a process may have, or unlimited) and, if the root file system may be written to, the file writable.
set -eu
folder=$1
shift
hostname "$(cat "$folder/hostname")"

# What is to be seen is set aside, because the folders it lies in are hidden next.
mount -t tmpfs -o mode=755 tmpfs /mnt
cp -r "$folder" /mnt/container
count=0
while read -r source _; do
    count=$((count + 1))
    if [ -d "$source" ]; then mkdir "/mnt/$count"; else touch "/mnt/$count"; fi
    mount --bind "$source" "/mnt/$count"
done < "$folder/mounts"
folder=/mnt/container
for hidden in /tmp /run /root /home /var/lib; do
    mount -t tmpfs -o mode=755 tmpfs "$hidden"
done
mkdir -m 1777 /run/lock
mkdir /home/ngpu
count=0
while read -r _ target mode; do
    count=$((count + 1))
    if [ -d "/mnt/$count" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}"; touch "$target"; fi
    mount --bind "/mnt/$count" "$target"
    if [ "$mode" = ro ]; then mount -o remount,bind,ro "$target"; fi
done < "$folder/mounts"
while read -r target options; do
    mkdir -p "$target"
    mount -t tmpfs -o "$options" tmpfs "$target"
done < "$folder/tmpfs"

user=$(cat "$folder/user")
workdir=$(cat "$folder/workdir")
# The image has made it, for its user; a volume mounted there is somebody's already.
if [ ! -d "$workdir" ]; then install -d ${user:+-o "$user" -g "$user"} "$workdir"; fi
if [ -n "$user" ]; then chown "$user:$user" /home/ngpu; fi
if [ -e "$folder/writable" ]; then
    chmod 1777 /tmp
else
    for mounted in / /mnt /run /home /root /var/lib $([ -n "$(grep '^/tmp ' "$folder/tmpfs")" ] || echo /tmp); do
        mount -o remount,bind,ro "$mounted"
    done
fi
cd "$workdir"
ulimit -d "$(cat "$folder/data_limit")"
set -- setpriv ${user:+--reuid "$user" --regid "$user" --clear-groups} \
    $(cat "$folder/capabilities") -- "$@"
# As Docker's init does: pass the wish to end on, reap whoever is left behind.
"$@" &
child=$!
trap 'kill -TERM $child' TERM INT
status=0
wait $child || status=$?
while kill -0 $child 2>/dev/null; do status=0; wait $child || status=$?; done
exit $status
