/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How MemPipe wakes (guest-agent/kernel/mempipe/core/wake.h), checked exhaustively on a machine with
 * store buffers, as x86-64 is: a store is seen by others when its buffer is flushed, at any later time,
 * or at a barrier.
 *
 * Two tellers share one bit, as the two directions of a slot do, on two processors; a third has another
 * bit, and all share one bell. Each moves a position, the first one twice. Two sleepers have to see all
 * of it. Who is asleep for ever, while there is something that he has not seen, is in an invalid end
 * state. */
#define STEPS(t) (t == 0 -> 2 : 1)
#define TELLERS 3
#define SLEEPERS 2
#define SLEEPER_OF(t) (t / 2)

byte position[TELLERS];
bool armed[SLEEPERS];
bool pending[SLEEPERS];
bool bell, doorbell;
bool woken[SLEEPERS];

/* store buffers of one entry */
byte position_buffer[TELLERS];
bool armed_buffer[SLEEPERS];
bool position_buffered[TELLERS], armed_buffered[SLEEPERS];

active proctype flush() {
        byte i;
endflush:
        do
        :: atomic { position_buffered[0] -> position[0] = position_buffer[0]; position_buffered[0] = false }
        :: atomic { position_buffered[1] -> position[1] = position_buffer[1]; position_buffered[1] = false }
        :: atomic { position_buffered[2] -> position[2] = position_buffer[2]; position_buffered[2] = false }
        :: atomic { armed_buffered[0] -> armed[0] = armed_buffer[0]; armed_buffered[0] = false }
        :: atomic { armed_buffered[1] -> armed[1] = armed_buffer[1]; armed_buffered[1] = false }
        od
}

active [TELLERS] proctype teller() {
        byte t = _pid - 1, n;
        bool was;

        do
        :: n == STEPS(t) -> break
        :: else ->
                atomic { !position_buffered[t] -> n++; position_buffer[t] = n; position_buffered[t] = true };
#ifndef MISTAKE_NO_BARRIER_TELLER
                !position_buffered[t];
#endif
                if
                :: armed[SLEEPER_OF(t)] ->
                        /* an exchange is a barrier, too */
#ifdef MISTAKE_BIT_IN_TWO_STEPS
                        was = pending[SLEEPER_OF(t)];
                        pending[SLEEPER_OF(t)] = true;
#else
                        atomic {
                                !position_buffered[t] ->
                                was = pending[SLEEPER_OF(t)];
                                pending[SLEEPER_OF(t)] = true
                        };
#endif
                        if
                        :: !was ->
                                atomic { was = bell; bell = true };
                                if
                                :: !was -> doorbell = true
                                :: else
                                fi
                        :: else
                        fi
                :: else
                fi
        od
}

/* The interrupt: edges that come together are one. */
active proctype handler() {
        bool was;

endhandler:
        do
        :: atomic { doorbell -> doorbell = false };
#ifdef MISTAKE_BITS_FIRST
                atomic { was = pending[0]; pending[0] = false; woken[0] = woken[0] || was };
                atomic { was = pending[1]; pending[1] = false; woken[1] = woken[1] || was };
                bell = false
#else
                bell = false;
                atomic { was = pending[0]; pending[0] = false; woken[0] = woken[0] || was };
                atomic { was = pending[1]; pending[1] = false; woken[1] = woken[1] || was }
#endif
        od
}

#define SEES(s) (s == 0 -> position[0] + position[1] : position[2])
#define ALL(s) (s == 0 -> STEPS(0) + STEPS(1) : STEPS(2))

active [SLEEPERS] proctype sleeper() {
        byte s = _pid - 1 - TELLERS - 1, seen, now;

look:
        atomic { /* to write into one's own buffer is nobody else's business */
                now = SEES(s);
                if
                :: now == ALL(s) -> goto done
                :: now > seen && now < ALL(s) -> seen = now; goto look
                :: else
                fi;
                !armed_buffered[s] -> armed_buffer[s] = true; armed_buffered[s] = true
        };
#ifndef MISTAKE_NO_BARRIER_SLEEPER
        !armed_buffered[s];
#endif
        atomic {
#ifndef MISTAKE_NO_SECOND_LOOK
                now = SEES(s);
#endif
                if
                :: now > seen -> goto disarm
                :: else
                fi
        };
        atomic { woken[s] -> woken[s] = false };
disarm:
        atomic { !armed_buffered[s] -> armed_buffer[s] = false; armed_buffered[s] = true; goto look };
done:
        skip
}
