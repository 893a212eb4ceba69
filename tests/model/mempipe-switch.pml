/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The switch protocol of MemPipe, one direction, checked exhaustively: a sender that changes between TCP
 * and the pipe at any time, a network that brings TCP's bytes when it likes, a receiver that attaches and
 * detaches when it likes. Each access to a shared word is a step of its own.
 *
 * Byte n has the value n. Checked: the receiver gets each byte once, in order; and nobody is stuck: who
 * ends otherwise than by having all bytes is in an invalid end state.
 *
 * The steps are those of guest-agent/kernel/mempipe/core/switch.c. What release and acquire order there
 * is ordered here by nature: processes take turns. tests/model/run also makes each of the mistakes below,
 * to see that it would be found. */
#define BYTES 4
#define MODES 4 /* two excursions; three, and five bytes, are 20 million states, and no error either */
#define WINDOW 2

/* by the sender */
byte mode, switch_seq, end_, tail;
/* by the receiver */
byte head, mode_ack;
bool attached;

/* TCP: bytes [copied, rcv_nxt) have come in, [rcv_nxt, write_seq) are on their way */
byte tcp[BYTES], write_seq, rcv_nxt, copied;
byte ring[BYTES];

byte sent, got;

inline put_tcp() {
        atomic {
                tcp[write_seq] = sent;
                write_seq++;
                sent++
        }
}

inline put_pipe() {
        ring[tail] = sent; /* positions do not wrap in so few bytes */
        sent++;
        tail++
}

active proctype sender() {
        byte seen;

        do
        :: sent == BYTES -> break
        :: sent < BYTES && mode % 2 == 0 -> put_tcp()
        :: sent < BYTES && mode % 2 == 1 && tail - head < WINDOW -> put_pipe()
        :: mode % 2 == 0 && mode + 2 <= MODES && attached ->
                seen = mode_ack;
                assert(seen == mode || seen + 2 == mode);
                if
#ifdef MISTAKE_NO_ACK
                :: true ->
#else
                :: seen == mode ->
#endif
#ifdef MISTAKE_MODE_FIRST
                        mode++;
                        switch_seq = write_seq
#else
                        switch_seq = write_seq;
                        mode++
#endif
                :: else
                fi
        :: mode % 2 == 1 ->
#ifdef MISTAKE_NO_END
                mode++
#else
                end_ = tail;
                mode++
#endif
        od
}

active proctype network() {
endnetwork:
        do
        :: rcv_nxt < write_seq -> rcv_nxt++
        od
}

active proctype willing() {
endwilling:
        do
        :: !attached -> attached = true
        :: attached -> attached = false
        :: break
        od
}

inline take_tcp(most) {
        do
        :: most > 0 ->
                assert(copied < write_seq && tcp[copied] == got);
                got++;
                copied++;
                most--
        :: break /* as much as the reader wants */
        od
}

active proctype receiver() {
        byte received, m, until, stop, most;
        bool away, back, pipe;

        do
        :: got == BYTES -> break
        :: else ->
                received = rcv_nxt;
                m = mode;
                assert(m - mode_ack <= 2);
                if
                :: m > mode_ack && !away -> until = switch_seq; away = true
                :: else
                fi;
                if
                :: m == mode_ack + 2 && !back -> stop = end_; back = true
                :: else
                fi;
#ifdef MISTAKE_NO_CLAMP
                /* what has come in by now */
                received = rcv_nxt;
#endif
                pipe = false;
                most = received - copied;
                if
                :: away ->
                        assert(until >= copied);
                        most = (until < received -> until : received) - copied;
                        pipe = until == copied
                :: else
                fi;
                if
                :: pipe && (back -> head < stop : head < tail) ->
                        assert(ring[head] == got);
                        got++;
                        head++;
                        most = 0
                :: pipe && back && head == stop ->
                        away = false;
                        back = false;
                        mode_ack = m;
                        most = 0 /* looks again */
                :: else
                fi;
                if
                :: most > 0 -> take_tcp(most)
                :: else /* waits for anything new */
                        -> got == BYTES || mode != m || rcv_nxt != received || (away && back) ||
                           (away && !back && head < tail) || (!away && rcv_nxt > copied)
                fi
        od
}
