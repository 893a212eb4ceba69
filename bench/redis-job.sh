#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in a guest of bench/balance, from the disk of tests/vm/programs-disk.sh: a redis-server and its jobs.
#
#     redis-job.sh serve MIB          starts the server, with a data set of that size that stays (database 0)
#     redis-job.sh job MIB READS      one job: fills database 1, reads READS random values of it, compares every value, drops it
#
# A job tells in /run/job what it does ("fill", "read", "compare", "done", "failed: WHY") and when it began that (seconds of
# /proc/uptime). Values have 8 KiB less what redis adds, so that each lies in two pages of memory.
here=$(dirname "$0")
export LD_LIBRARY_PATH="$here/lib"
cli="$here/bin/redis-cli -s /run/redis.sock"
BATCH=1000 # values per call: some tenths of a second in an emulated guest

tell() { echo "$1 $(cut -d' ' -f1 /proc/uptime)" >>/run/job; }
fail() { tell "failed: $*"; exit 1; }

# Runs BODY in the server for each value i of a data set, and adds up what it returns.
each() { # DATABASE MIB BODY
        n=$(($2 * 128)) i=0 sum=0
        while [ $i -lt $n ]; do
                r=$($cli -n "$1" EVAL "local sum, pad = 0, string.rep('0123456789abcdef', 505)
                        for i = ARGV[1] + 0, ARGV[2] - 1 do
                                local key = string.format('key:%012d', i)
                                local value = string.format('%016d', i) .. pad
                                $3
                        end
                        return sum" 0 $i $((i + BATCH < n ? i + BATCH : n))) || fail "$r"
                case $r in '' | *[!0-9]*) fail "$r" ;; esac
                sum=$((sum + r)) i=$((i + BATCH))
        done
}

case $1 in
serve)
        "$here/bin/redis-server" --port 0 --unixsocket /run/redis.sock --save '' --appendonly no --daemonize yes \
                --databases 2 --logfile /run/redis.log --activedefrag no >/dev/null
        i=0
        until [ "$($cli PING 2>/dev/null)" = PONG ] || [ $i -gt 100 ]; do sleep 0.2; i=$((i + 1)); done
        each 0 "$2" "redis.call('SET', key, value)"
        ;;
job)
        : >/run/job
        tell fill
        each 1 "$2" "redis.call('SET', key, value)"
        tell read
        "$here/bin/redis-benchmark" -s /run/redis.sock --dbnum 1 -c 4 -P 4 -q -n "$3" -r $(($2 * 128)) GET key:__rand_int__ \
                >/run/benchmark.log 2>&1 || fail "$(tail -n 1 /run/benchmark.log)"
        tell compare
        each 1 "$2" "if redis.call('GET', key) == value then sum = sum + 1 end"
        [ $sum = $(($2 * 128)) ] || fail "$sum of $(($2 * 128)) values are right"
        $cli -n 1 FLUSHDB SYNC >/dev/null
        $cli MEMORY PURGE >/dev/null
        tell "done"
        ;;
esac
