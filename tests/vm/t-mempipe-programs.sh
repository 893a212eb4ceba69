#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian's own iperf3, redis, nginx, curl, ssh and netcat, as they are, talk through shared memory: each byte right
# suite: all
# kernels: 6.12
# needs: programs
# timeout: 1800
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-pipe.sh"
. "$(dirname "$0")/lib-programs.sh"
MIB=1048576
declare -A PIPE TCP

# ---- which way it went

mark() { # what guests have sent until now, by the pipe and by TCP
        local g
        for g in A B; do
                PIPE[$g]=$(pipe_counter $g tx-pipe-bytes)
                TCP[$g]=$(pipe_counter $g tx-tcp-bytes)
        done
}

# Of what GUEST has sent since the mark at least BYTES went by the pipe, and PERCENT of all.
by_pipe() { # GUEST BYTES PERCENT WHAT
        local pipe=$(($(pipe_counter "$1" tx-pipe-bytes) - PIPE[$1])) tcp=$(($(pipe_counter "$1" tx-tcp-bytes) - TCP[$1]))
        say "   $1 sent $pipe bytes by the pipe, $tcp by TCP: $4"
        [ $pipe -ge "$2" ] || fail "$4: only $pipe of at least $2 bytes of $1 by the pipe"
        [ $((pipe * 100)) -ge $(((pipe + tcp) * $3)) ] || fail "$4: $1 sent $tcp bytes by TCP, $pipe by the pipe"
}

# ---- the programs

iperf() { # WHAT GUEST-THAT-SENDS[KEY-OF-THAT-DIRECTION]... -- OPTIONS...
        local what=$1 said way key sent got
        shift
        local ways=()
        while [ "$1" != -- ]; do ways+=("$1"); shift; done
        shift
        mark
        said=$(guest_run -t 120 A "iperf3 -c 10.0.0.2 -J -t 2 $*")
        expect_eq null "$(jq -c .error <<<"$said")" "iperf3: $what"
        for way in "${ways[@]}"; do
                key=${way:1}
                sent=$(jq ".end.sum_sent$key.bytes" <<<"$said") got=$(jq ".end.sum_received$key.bytes" <<<"$said")
                # what is on its way when the time is over is not counted
                expect_between $((sent - 32 * MIB)) "$sent" "$got" "bytes that came: $what"
                by_pipe "${way:0:1}" $((got * 9 / 10)) 90 "$what"
                pass "iperf3, $what: $((got / MIB)) MiB from ${way:0:1}, $(jq ".end.sum_received$key.bits_per_second / 8e6 | round" <<<"$said") MB/s"
        done
}

# A connection's first bytes go by TCP until its ends have met, half a MiB of them or so: files of one to five.
LARGE='cd /programs && for f in $(find bin lib -type f -size +1023k -size -5000k | sort); do'

fetch() { # WHAT URL: the large ones, one connection each, by their checksums
        local got
        mark
        got=$(guest_run -t 200 A "$LARGE
                curl -gsSf $2/\$f >/run/got || exit; echo \"\$(sha256sum </run/got | cut -d' ' -f1)  \$f\"; done")
        expect_eq "$SUMS" "$got" "files fetched: $1"
        by_pipe B $((BYTES / 2)) 50 "$1"
        pass "$1: $(wc -l <<<"$got") files, one connection each"
}

redis() { guest_run -t 120 "$1" "redis-cli $2"; } # GUEST ARGUMENTS

setup_sshd() {
        guest_run -t 120 A "ssh-keygen -q -t ed25519 -N '' -f /run/key"
        guest_run -t 120 B "mkdir -p /run/sshd /run/ssh && echo '$(guest_file A /run/key.pub)' >/run/ssh/keys
                echo 'sshd:x:74:65534::/run/sshd:/bin/false' >>/etc/passwd
                ssh-keygen -q -t ed25519 -N '' -f /run/ssh/host
                printf '%s\n' 'HostKey /run/ssh/host' 'AuthorizedKeysFile /run/ssh/keys' 'StrictModes no' 'UsePAM no' >/run/ssh/config"
        guest_run A "echo 'fd00::2 $(guest_file B /run/ssh/host.pub)' >/run/known"
        serve_in B 22 /bin/sshd -D -e -f /run/ssh/config
}
SSH='ssh -F none -i /run/key -o UserKnownHostsFile=/run/known -o BatchMode=yes root@fd00::2'

# What mempipe-stat has to say of a connection at rest, from what debugfs says.
told_by_debugfs() { # GUEST PORT
        pipe_file "$1" connections | awk -v port=":$2\$" '$1 ~ port || $2 ~ port {
                for (i = 6; i <= NF; i++) { split($i, w, "="); v[w[1]] = w[2] }
                print $1, $2, $3, $4, $5, v["tx"] + v["tcp_sent"], v["rx"] + 0, 0, v["chunks"] + 0, v["rung"] + 0 }'
}
told_by_stat() { guest_run "$1" 'mempipe-stat 1' | tr -s ' ' | sed 's/ $//' | awk -v port=":$2\$" '$1 ~ port || $2 ~ port'; } # GUEST PORT
stat_agrees() { # GUEST PORT
        local stat debugfs
        stat=$(told_by_stat "$1" "$2") debugfs=$(told_by_debugfs "$1" "$2")
        [ -n "$stat" ] && [ "$stat" = "$debugfs" ] || { echo "mempipe-stat: $stat; debugfs: $debugfs"; return 1; }
}

step "two guests, of kernels 6.1 and 6.12, with Debian's programs"
network_start
pipe_server_start 512 256
PIPE_MORE_DEVICES=$(programs_xml vda)
pipe_guest_start A 1 --mib 256 --no-wait
pipe_guest_start B 2 --mib 256 --no-wait --kernel 6.12
guest_wait A B
for g in A B; do
        network_up $g "$([ $g = A ] && echo 1 || echo 2)"
        programs_mount $g vda
done
expect_match 'is mempipe loaded' "$(guest_run A 'mempipe-stat 2>&1 || true')" "mempipe-stat without the module"
expect_match "is a number, not 'x'" "$(guest_run A 'mempipe-stat x 2>&1 || true')" "mempipe-stat with nonsense"
pipe_load A B
SUMS=$(guest_run -t 120 A "$LARGE sha256sum \$f; done") BYTES=$(guest_run A "{ $LARGE cat \$f; done; } | wc -c")

step "iperf3"
serve_in B 5201 iperf3 -s
iperf "one stream" A --
iperf "one stream" B -- -R
iperf "by sendfile" A -- -Z
iperf "four streams" A -- -P 4
iperf "four streams" B -- -R -P 4
iperf "both ways at once" A B_bidir_reverse -- --bidir
n=$(by_ring A)
said=$(guest_run -t 120 A 'iperf3 -c 10.0.0.2 -J -t 3 -u -b 40M')
expect_eq null "$(jq -c .error <<<"$said")" "iperf3 by UDP"
sent=$(jq .end.sum.packets <<<"$said")
expect_between $((sent / 2)) $((sent + 10)) $(($(by_ring A) - n)) "datagrams of A by the ring"
pass "iperf3, UDP: $sent datagrams, $(($(by_ring A) - n)) by the ring, $(jq .end.sum.lost_packets <<<"$said") lost"

step "redis"
guest_run B 'cd /run && redis-server --save "" --protected-mode no --daemonize yes' >/dev/null
wait_until 20 "redis serves" serves B 6379
mark
n=$(pipe_counter A pipes)
guest_run -t 120 A 'redis-benchmark -h 10.0.0.2 -n 8000 -c 8 -P 4 -d 1024 -t set,get,incr,lpush --csv' >"$T/redis.csv"
sed -n 's/^"\([A-Z]*\)","\([0-9.]*\)".*/   \1: \2 a second/p' "$T/redis.csv" | while read -r line; do say "   $line"; done
expect_between 8 1000 $(($(pipe_counter A pipes) - n)) "pipes of redis-benchmark"
by_pipe A $((16 * MIB * 9 / 10)) 90 "redis-benchmark"
by_pipe B $((8 * MIB * 9 / 10)) 90 "redis-server"
# asked over B's loopback, by which no pipe goes
expect_eq 8000 "$(redis B 'GET counter:__rand_int__')" "INCR, 8000 times"
expect_eq 8000 "$(redis B 'LLEN mylist')" "LPUSH, 8000 times"
expect_eq 0 "$(redis B "EVAL \"local w, bad = redis.call('GET', 'key:__rand_int__'), 0
        for _, v in ipairs(redis.call('LRANGE', 'mylist', 0, -1)) do if v ~= w or #v ~= 1024 then bad = bad + 1 end end
        return bad\" 0")" "values that are not what was sent"
pass "redis-benchmark's values are right"
mark
guest_run -t 120 A "$LARGE redis-cli -h 10.0.0.2 -x SET \$f <\$f || exit; done" >/dev/null
for g in A B; do # A by the pipe, B at home; a reader of raw values gets a newline more
        got=$(guest_run -t 120 $g "$LARGE
                redis-cli -h 10.0.0.2 GET \$f | head -c \$(wc -c <\$f) | sha256sum | sed s,-\\$,\$f,; done")
        expect_eq "$SUMS" "$got" "values that $g reads"
done
by_pipe A $((BYTES / 2)) 50 "large values, set"
by_pipe B $((BYTES / 2)) 50 "large values, read"
guest_run B 'redis-cli FLUSHALL' >/dev/null
pass "$(wc -l <<<"$SUMS") large values, written and read by the pipe"

step "nginx and curl"
guest_run B "mkdir -p /var/lib/nginx /run/put && echo 'user root; worker_processes 1; error_log /run/nginx.log; pid /run/nginx.pid;
        events { worker_connections 256; }
        http {
                access_log off; root /programs; keepalive_requests 10000; client_max_body_size 0;
                server { listen 80; listen [::]:80; sendfile on; tcp_nopush on; location /put { root /run; dav_methods PUT; } }
                server { listen 81; sendfile off; }
        }' >/run/nginx.conf && nginx -e /run/nginx.log -c /run/nginx.conf"
wait_until 20 "nginx serves" serves B 81
fetch "sendfile, IPv4" http://10.0.0.2
fetch "sendfile, IPv6" 'http://[fd00::2]'
fetch "read and write" http://10.0.0.2:81
mark
said=$(guest_run -t 200 A 'cd /programs && curl -sSf -w "%{stderr}%{num_connects} " $(for f in lib/*; do echo http://10.0.0.2/$f; done) 2>/run/connects |
        sha256sum && cat lib/* | sha256sum && tr " " "\n" </run/connects | grep -c 1')
expect_eq "$(sed -n 1p <<<"$said")" "$(sed -n 2p <<<"$said")" "all libraries by one connection"
expect_eq 1 "$(sed -n 3p <<<"$said")" "connections of that"
by_pipe B $((8 * MIB)) 90 "one connection"
pass "all libraries by one connection"
mark
guest_run -t 120 A 'curl -sSf -T /programs/lib/libcrypto.so.3 http://10.0.0.2/put/it'
expect_eq "$(guest_run A 'sha256sum </programs/lib/libcrypto.so.3')" "$(guest_run B 'sha256sum </run/put/it')" "what was put"
by_pipe A $((4 * MIB)) 90 "PUT"
said=$(guest_run -t 120 A 'ab -q -k -c 8 -n 1000 http://10.0.0.2/bin/ab 2>&1')
expect_match 'Complete requests: *1000' "$said" "ab"
expect_match 'Failed requests: *0' "$said" "ab"
pass "ab: $(sed -n 's/^Requests per second: *\([0-9.]*\).*/\1/p' <<<"$said") requests a second"

step "netcat: 1 GiB one way, 256 MiB the other at the same time, switched back and forth"
pipe_set flip_bytes $((3 * MIB)) A B
guest_spawn B 'pipestream pour 256 21 | nc.openbsd -N -l 7100 | pipestream drink 1024 22 >/run/verdict 2>&1' >/dev/null
wait_until 10 "netcat listens" serves B 7100
mark
n=$(pipe_counter A switches)
said=$(guest_run -t 1200 A 'pipestream pour 1024 22 | nc.openbsd -N 10.0.0.2 7100 | pipestream drink 256 21')
expect_match '^ok ' "$said" "what came to A"
wait_until 60 "B has read to the end" guest_run B '[ -s /run/verdict ]'
expect_match '^ok ' "$(guest_file B /run/verdict)" "what came to B"
n=$(($(pipe_counter A switches) - n))
expect_between 200 2000 $n "switches of A"
by_pipe A $((300 * MIB)) 30 "netcat, A"
by_pipe B $((75 * MIB)) 30 "netcat, B"
pass "netcat: every byte right, $n switches of A; A: $said; B: $(guest_file B /run/verdict)"

step "ssh: 16 MiB each way, switched back and forth"
setup_sshd
pipe_set flip_bytes 100000 A B
mark
n=$(($(pipe_counter A switches) + $(pipe_counter B switches)))
said=$(guest_run -t 400 A "pipestream pour 16 31 | $SSH 'pipestream drink 16 31'")
expect_match '^ok ' "$said" "to B by ssh"
say "   to B: $said"
said=$(guest_run -t 400 A "$SSH 'pipestream pour 16 32' </dev/null | pipestream drink 16 32")
expect_match '^ok ' "$said" "to A by ssh"
n=$(($(pipe_counter A switches) + $(pipe_counter B switches) - n))
expect_between 150 2000 $n "switches of both"
by_pipe A $((4 * MIB)) 25 "ssh, A"
by_pipe B $((4 * MIB)) 25 "ssh, B"
pass "ssh: every byte right, $n switches; to A: $said"
pipe_set flip_bytes 0 A B

step "mempipe-stat says what debugfs says"
guest_spawn B 'nc.openbsd -l 7200 >/dev/null' >/dev/null
wait_until 10 "netcat listens" serves B 7200
guest_spawn A '{ pipestream pour 1 41; sleep 1000; } | nc.openbsd 10.0.0.2 7200' >/dev/null
for g in A B; do wait_until 20 "mempipe-stat of $g agrees" stat_agrees $g 7200; done
expect_match "10.0.0.2:7200 client pipe ok $MIB 0 0 " "$(told_by_stat A 7200)" "mempipe-stat of A"
serve_in B 7000 pipestream serve 7000
guest_spawn A 'exec pipestream hold 10.0.0.2 7000 9' >/dev/null
wait_until 10 "there is a byte each tenth of a second" says ':7000 client .*tx=[1-9]' pipe_file A connections
rate=$(guest_run A 'mempipe-stat 3' | awk '$2 ~ /:7000$/ { print $8 }')
expect_between 1 11 "$rate" "bytes a second, by mempipe-stat"
guest_run A 'mempipe-stat 0' | sed 's/^/    /'

step "nothing was lost on the way"
for g in A B; do
        expect_eq "0 0" "$(pipe_counter $g resets) $(pipe_counter $g bad-messages)" "resets, bad messages of $g"
        say "   late wakes of $g: $(pipe_counter $g late-wakes)"
        expect_eq "" "$(kernel_complains $g)" "complaints of $g's kernel"
done
pass "no resets, no complaints of the kernels"
