#!/usr/bin/env bash
# strace 6.1 --seccomp-bpf, as a renderer's opened files are watched with: a thread is let run only from its first traced call on.
# One that opens nothing (a renderer's worker, idle ones yield without end) is stopped twice at every call, as without the option.
# To trace a call that glibc makes at a thread's start (set_robust_list) besides mends it. Needs Python 3, Debian 12.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
apt-get -q download strace=6.1-0.1 >/dev/null 2>&1; dpkg -x strace_*.deb package
cat >worker.py <<'P'
import os, threading
def work():
    for _ in range(2000):
        os.sched_yield()
    with open(f"/proc/self/task/{threading.get_native_id()}/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("voluntary")))
thread = threading.Thread(target=work)
thread.start()
thread.join()
P
stops() { package/usr/bin/strace -f --seccomp-bpf -qq -e trace="$1" -o trace python3 -I worker.py; }
package/usr/bin/strace --version | head -n 1
files=$(stops %file) more=$(stops %file,set_robust_list)
echo "a thread's waits in 2000 calls of sched_yield: $files with %file, $more with %file,set_robust_list"
[ "$files" -gt 3900 ] && [ "$more" -lt 1000 ]
# Seen: strace -- version 6.1
# a thread's waits in 2000 calls of sched_yield: 4029 with %file, 10 with %file,set_robust_list
