/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pipe pairs: groups whose members must not read each other's conversations (Isolation=pair). No memory has
 * more than two guests in it.
 *
 * Each member has a lobby, a region shared with the host alone, and says there of which SYNs it was an end
 * (memlego/mempipe-abi.h, "Lobbies"). Two guests that name the same one get a room: a region, a socket and a
 * device each. A third guest learns nothing of it, and whoever invents wishes has to guess 32 random bits to
 * be paired with somebody who does not talk to it; even then no byte goes there, as the modules prove each
 * connection to each other.
 *
 * A guest has few places for devices. A pair that nobody uses for PairIdleSec= is given up; where PairsMax=
 * is reached, the one that was used longest ago goes, unless all were used just now. What one guest says of
 * itself keeps a pair while nobody needs its place; to hold it against the other's need, both must say so. */
#include <string.h>

#include "service/device.h"
#include "service/log.h"
#include "service/pipe-private.h"
#include "util/parse.h"
#include "util/util.h"

typedef MlgDaemonPipe Pipe;

/* Both ends speak within a round trip of the network; a SYN that was lost is sent again after a second, or
 * three. */
#define WISH_USEC (5 * MLG_USEC_PER_SEC)
/* Of one guest: a module says one in ten seconds for each address; beyond that it is noise. */
#define WISHES_PER_SEC 50
#define WISHES_BURST 100
/* A pair that was used so shortly ago does not make room for another one: two that take turns would only be
 * plugged. */
#define PAIR_KEEP_USEC (10 * MLG_USEC_PER_SEC)
#define NUMBER_MAX 999999

bool mlg_room_is_for(const Pipe *room, const char *guest) {
        for (size_t i = 0; i < G_N_ELEMENTS(room->guests); i++)
                if (room->guests[i][0] && g_str_equal(room->guests[i], guest))
                        return true;
        return false;
}

/* The next room of this kind of the section, behind `after` (NULL: the first). */
static Pipe *next_room(const Pipe *section, MlgRoomKind kind, const Pipe *after) {
        const GPtrArray *all = section->daemon->pipes;
        bool is_behind = !after;

        for (guint i = 0; i < all->len; i++) {
                Pipe *p = all->pdata[i];

                if (is_behind && p->section == section && p->kind == kind)
                        return p;
                is_behind = is_behind || p == after;
        }
        return NULL;
}

#define FOR_EACH_ROOM(p, section, kind) \
        for (Pipe *p = next_room(section, kind, NULL); p; p = next_room(section, kind, p))

static Pipe *lobby_of(const Pipe *section, const char *guest) {
        FOR_EACH_ROOM(p, section, MLG_ROOM_LOBBY) {
                if (!p->going && mlg_room_is_for(p, guest))
                        return p;
        }
        return NULL;
}

static void give_up(Pipe *p, const char *why) {
        if (p->going)
                return;
        p->going = true;
        mlg_log(MLG_LOG_INFO, "Pipe %s: guests %s and %s share no memory any more: %s", p->name,
                p->guests[0], p->guests[1], why);
}

/* ---- opening rooms ---- */

static bool is_name_used(const Pipe *section, const char *name) {
        const GPtrArray *all = section->daemon->pipes;

        for (guint i = 0; i < all->len; i++)
                if (g_str_equal(((const Pipe *) all->pdata[i])->name, name))
                        return true;
        return false;
}

static Pipe *open_room(Pipe *section, MlgRoomKind kind, const char *a, const char *b) {
        char name[MLG_ROOM_NAME_MAX + 1];
        Pipe *p;

        do {
                section->last_number = section->last_number < NUMBER_MAX ? section->last_number + 1 : 1;
                (void) g_snprintf(name, sizeof(name), "%s%c%c%" PRIu32, section->name, MLG_ROOM_MARK,
                                  kind == MLG_ROOM_LOBBY ? 'l' : 'p', section->last_number);
        } while (is_name_used(section, name));
        p = mlg_pipe_open_room(section, kind, name, NULL);
        if (p) {
                g_strlcpy(p->guests[0], a, sizeof(p->guests[0]));
                g_strlcpy(p->guests[1], b, sizeof(p->guests[1]));
        }
        return p;
}

static uint32_t count_lobbies(const Pipe *section) {
        uint32_t n = 0;

        FOR_EACH_ROOM(p, section, MLG_ROOM_LOBBY) {
                n++;
        }
        return n;
}

void mlg_pairs_want(Pipe *section, const MlgVm *vm) {
        if (lobby_of(section, vm->name) || strlen(vm->name) > MLG_NAME_MAX)
                return;
        if (count_lobbies(section) < MLG_PIPE_MEMBERS_MAX)
                (void) open_room(section, MLG_ROOM_LOBBY, vm->name, "");
        else if (mlg_pipe_may_warn(section, NULL, MLG_CAUSE_PIPE_FULL))
                mlg_log(MLG_LOG_WARNING, "Pipe %s: guest %s uses the network: %d guests are members already",
                        section->name, vm->name, MLG_PIPE_MEMBERS_MAX);
}

/* "l12" or "p12" */
static bool parse_room(const char *s, MlgRoomKind *ret_kind, uint32_t *ret_number) {
        uint64_t number;

        if ((s[0] != 'l' && s[0] != 'p') || mlg_parse_u64(s + 1, 1, NUMBER_MAX, &number) != 0)
                return false;
        *ret_kind = s[0] == 'l' ? MLG_ROOM_LOBBY : MLG_ROOM_PAIR;
        *ret_number = (uint32_t) number;
        return true;
}

/* Names of rooms of which something was kept. */
static GHashTable *kept_rooms(const Pipe *section, GHashTable *kept) {
        g_autofree char *prefix = g_strdup_printf("pipe/%s%c", section->name, MLG_ROOM_MARK);
        GHashTable *rooms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        GHashTableIter iter;
        gpointer name;

        g_hash_table_iter_init(&iter, kept);
        while (g_hash_table_iter_next(&iter, &name, NULL)) {
                const char *from = (const char *) name + strlen(prefix), *end;

                if (g_str_has_prefix(name, prefix) && (end = strchr(from, '/')))
                        (void) g_hash_table_add(rooms, g_strndup(from, (gsize) (end - from)));
        }
        return rooms;
}

/* Who is in a room is found by who is connected; one that somebody has left meanwhile is of no use. */
void mlg_pairs_take_kept(Pipe *section, GHashTable *kept) {
        g_autoptr(GHashTable) rooms = kept_rooms(section, kept);
        GHashTableIter iter;
        gpointer room;

        g_hash_table_iter_init(&iter, rooms);
        while (g_hash_table_iter_next(&iter, &room, NULL)) {
                g_autofree char *name = g_strdup_printf("%s%c%s", section->name, MLG_ROOM_MARK,
                                                        (char *) room);
                MlgRoomKind kind;
                uint32_t number;
                Pipe *p;

                if (!parse_room(room, &kind, &number) ||
                    !(p = mlg_pipe_open_room(section, kind, name, kept)))
                        continue;
                section->last_number = MAX(section->last_number, number);
                p->going = !p->guests[0][0] || (kind == MLG_ROOM_PAIR && !p->guests[1][0]);
        }
}

/* ---- wishes ---- */

/* A full bucket is WISHES_BURST ahead. */
static bool is_too_many(MlgWishes *w, uint64_t now) {
        const uint64_t each_usec = MLG_USEC_PER_SEC / WISHES_PER_SEC;

        w->full_usec = mlg_max(w->full_usec, now) + each_usec;
        if (w->full_usec - now <= WISHES_BURST * each_usec)
                return false;
        w->full_usec -= each_usec;
        return true;
}

static bool take_wish(MlgWishes *w, uint64_t syn, uint64_t now) {
        for (uint32_t i = 0; i < MLG_WISHES_MAX; i++)
                if (w->times_usec[i] > 0 && w->syns[i] == syn && now - w->times_usec[i] <= WISH_USEC) {
                        w->times_usec[i] = 0;
                        return true;
                }
        return false;
}

static void add_wish(MlgWishes *w, uint64_t syn, uint64_t now) {
        uint32_t at = w->next++ % MLG_WISHES_MAX;

        w->syns[at] = syn;
        w->times_usec[at] = now;
}

static Pipe *pair_of(const Pipe *section, const char *a, const char *b) {
        FOR_EACH_ROOM(p, section, MLG_ROOM_PAIR) {
                if (mlg_room_is_for(p, a) && mlg_room_is_for(p, b))
                        return p;
        }
        return NULL;
}

/* Where it has all that it may have, the one that both ends used longest ago is asked to go; its place is
 * free when that is unplugged, and the next wish finds it. */
static bool has_place(const Pipe *section, const Pipe *lobby, uint64_t now) {
        const char *guest = lobby->guests[0];
        Pipe *oldest = NULL;
        uint32_t n = 0;
        bool going = false;

        FOR_EACH_ROOM(p, section, MLG_ROOM_PAIR) {
                if (!mlg_room_is_for(p, guest))
                        continue;
                n++;
                going = going || p->going;
                if (!oldest || p->agreed_usec < oldest->agreed_usec)
                        oldest = p;
        }
        if (n < section->settings.pairs_max)
                return now >= lobby->wishes.pairs_after_usec;
        if (going)
                return false;
        if (now - oldest->agreed_usec >= PAIR_KEEP_USEC)
                give_up(oldest, "another pair needs the place");
        else if (mlg_pipe_may_warn(section, guest, MLG_CAUSE_PIPE_FULL))
                mlg_log(MLG_LOG_WARNING,
                        "Pipe %s: guest %s uses the network with further guests: all of its %" PRIu32
                        " pairs are in use (PairsMax=)",
                        section->name, guest, n);
        return false;
}

static void bring_together(const Pipe *a, const Pipe *b, uint64_t now) {
        Pipe *section = a->section, *p = pair_of(section, a->guests[0], b->guests[0]);
        bool a_has, b_has;

        if (p) {
                p->used_usec = now; /* it is on its way, or on its way out */
                return;
        }
        a_has = has_place(section, a, now);
        b_has = has_place(section, b, now);
        if (!a_has || !b_has) {
                section->n_full++;
                return;
        }
        p = open_room(section, MLG_ROOM_PAIR, a->guests[0], b->guests[0]);
        if (!p)
                return;
        mlg_log(MLG_LOG_INFO, "Pipe %s: guests %s and %s talk: they get memory", p->name, p->guests[0],
                p->guests[1]);
        for (size_t i = 0; i < G_N_ELEMENTS(p->guests); i++) {
                MlgVm *vm = mlg_device_vm(section->daemon, p->guests[i]);

                if (vm)
                        mlg_daemon_want_pipe(section->daemon, vm);
        }
}

void mlg_pairs_on_wish(uint64_t syn, uint64_t now, void *userdata) {
        Pipe *lobby = userdata;

        if (lobby->going || is_too_many(&lobby->wishes, now))
                return;
        FOR_EACH_ROOM(other, lobby->section, MLG_ROOM_LOBBY) {
                if (other != lobby && !other->going && take_wish(&other->wishes, syn, now)) {
                        bring_together(lobby, other, now);
                        return;
                }
        }
        add_wish(&lobby->wishes, syn, now);
}

void mlg_pairs_not_plugged(Pipe *room, const char *guest, uint64_t again_usec) {
        Pipe *lobby = lobby_of(room->section, guest);

        room->section->n_full++;
        if (lobby)
                lobby->wishes.pairs_after_usec = again_usec;
        give_up(room, "a device could not be added");
}

/* ---- keeping, and giving up ---- */

static bool stays(const Pipe *p, const char *guest) {
        MlgDaemon *d = p->daemon;
        const MlgVm *vm = mlg_device_vm(d, guest);

        if (p->section->going)
                return false;
        if (!vm)
                return !d->connected; /* not known yet */
        return !vm->pipe_off && mlg_pipe_belongs(d, p->section, guest) &&
               (p->section->settings.attach || vm->pipe_wanted || mlg_pipe_has_device(vm, p));
}

static uint32_t chunks_of(uint64_t kib) {
        return (uint32_t) (kib * 1024 >> MLG_PIPE_CHUNK_SHIFT);
}

/* What its members say of themselves; to be believed only as far as the head of this file says. */
static void look_at(Pipe *p, uint64_t now) {
        MlgPipeStatus s;
        const MlgPipeMember *a = &s.members[0], *b = &s.members[1];
        bool one_sent, both_sent;

        mlg_pipe_group_status(p->group, &s);
        p->claim.demand_chunks = 0;
        for (uint32_t i = 0; i < s.n_members; i++)
                p->claim.demand_chunks += MAX(chunks_of(s.members[i].demand_kib), MLG_PIPE_FLOOR_CHUNKS);
        if (s.n_members < 2)
                return;
        one_sent = a->sent_bytes != p->sent_bytes[0] || b->sent_bytes != p->sent_bytes[1];
        both_sent = a->sent_bytes != p->sent_bytes[0] && b->sent_bytes != p->sent_bytes[1];
        p->sent_bytes[0] = a->sent_bytes;
        p->sent_bytes[1] = b->sent_bytes;
        if (one_sent || a->n_pipes > 0 || b->n_pipes > 0)
                p->used_usec = now;
        if (both_sent || (one_sent && a->n_pipes > 0 && b->n_pipes > 0))
                p->agreed_usec = now;
}

static void tend_pair(Pipe *p, uint64_t now) {
        look_at(p, now);
        if (p->going)
                return;
        if (!stays(p, p->guests[0]) || !stays(p, p->guests[1]))
                give_up(p, "one of them has left the group, or is gone");
        else if (mlg_sub_sat(now, p->used_usec) >= p->section->settings.pair_idle_usec)
                give_up(p, "they have no connections (PairIdleSec=)");
}

/* The section's quota, by what its pairs want. */
static void share(Pipe *section, uint64_t now) {
        MlgPipeClaim claims[MLG_PIPE_CLAIMS_MAX];
        Pipe *pairs[MLG_PIPE_CLAIMS_MAX];
        uint32_t n = 0;

        FOR_EACH_ROOM(p, section, MLG_ROOM_PAIR) {
                if (n == G_N_ELEMENTS(pairs))
                        break;
                claims[n] = p->claim;
                pairs[n++] = p;
        }
        mlg_pipe_share(claims, n, chunks_of(section->settings.quota_kib),
                       mlg_sub_sat(now, section->shared_usec));
        section->shared_usec = now;
        for (uint32_t i = 0; i < n; i++) {
                pairs[i]->claim = claims[i];
                pairs[i]->limit_kib = (uint64_t) claims[i].target_chunks * (MLG_PIPE_CHUNK_BYTES / 1024);
        }
}

void mlg_pairs_tend(MlgDaemon *d) {
        uint64_t now = mlg_loop_now_usec(d->loop);

        for (guint i = 0; i < d->pipes->len; i++) {
                Pipe *section = d->pipes->pdata[i];

                if (section->kind != MLG_ROOM_PAIRS)
                        continue;
                FOR_EACH_ROOM(p, section, MLG_ROOM_LOBBY) {
                        p->going = !stays(p, p->guests[0]);
                }
                FOR_EACH_ROOM(p, section, MLG_ROOM_PAIR) {
                        tend_pair(p, now);
                }
                share(section, now);
        }
}

/* ---- what clients ask ---- */

/* NULL: there are too many. */
static MlgPipeMember *member_of(MlgPipeStatus *s, const char *guest) {
        MlgPipeMember *m = s->members;

        for (; m < s->members + s->n_members; m++)
                if (g_str_equal(m->name, guest))
                        return m;
        if (s->n_members == MLG_PIPE_MEMBERS_MAX)
                return NULL;
        *m = (MlgPipeMember) { .id = ++s->n_members };
        g_strlcpy(m->name, guest, sizeof(m->name));
        return m;
}

static void add_lobby(const Pipe *p, MlgPipeStatus *ret) {
        MlgPipeStatus s;
        MlgPipeMember *m;

        mlg_pipe_group_status(p->group, &s);
        ret->backed_kib += s.backed_kib;
        ret->charged_kib += p->charge_kib;
        m = s.n_members > 0 ? member_of(ret, p->guests[0]) : NULL;
        if (!m)
                return;
        m->state = s.members[0].state;
        m->epoch = s.members[0].epoch;
        m->pid = s.members[0].pid;
        /* these are said here only: see memlego/mempipe-abi.h */
        memcpy(m->outcomes, s.members[0].outcomes, sizeof(m->outcomes));
}

static void add_member(const MlgPipeMember *from, MlgPipeMember *to) {
        to->granted_kib += from->granted_kib;
        to->target_kib += from->target_kib;
        to->demand_kib += from->demand_kib;
        to->held_kib += from->held_kib;
        to->used_kib += from->used_kib;
        to->sent_bytes += from->sent_bytes;
        to->blocked_usec += from->blocked_usec;
        to->n_pipes += from->n_pipes;
        if (from->state == MLG_PIPE_STATE_BROKEN)
                to->state = from->state;
}

static void add_pair(const Pipe *p, uint64_t now, MlgPipeStatus *ret) {
        const MlgPipeMember *a = member_of(ret, p->guests[0]), *b = member_of(ret, p->guests[1]);
        MlgPipeStatus s;

        mlg_pipe_group_status(p->group, &s);
        ret->granted_kib += s.granted_kib;
        ret->backed_kib += s.backed_kib;
        ret->charged_kib += p->charge_kib;
        for (uint32_t i = 0; i < s.n_members; i++) {
                MlgPipeMember *m = member_of(ret, p->peers[s.members[i].id].name);

                if (m)
                        add_member(&s.members[i], m);
        }
        if (!a || !b || ret->n_pairs == MLG_PIPE_PAIRS_MAX)
                return;
        ret->pairs[ret->n_pairs++] = (MlgPipePair) {
                .members = { (uint8_t) (a - ret->members), (uint8_t) (b - ret->members) },
                .state = p->going           ? MLG_PIPE_PAIR_GOING
                         : s.n_members == 2 ? MLG_PIPE_PAIR_SERVING
                                            : MLG_PIPE_PAIR_COMING,
                .granted_kib = s.granted_kib,
                .backed_kib = s.backed_kib,
                .idle_usec = mlg_sub_sat(now, p->used_usec),
        };
}

void mlg_pairs_status(const Pipe *section, MlgPipeStatus *ret) {
        uint64_t now = mlg_loop_now_usec(section->daemon->loop);

        *ret = (MlgPipeStatus) {
                .region_kib = MLG_PIPE_REGION_MIN / 1024,
                .quota_kib = section->settings.quota_kib,
                .isolated = true,
                .n_refused_pairs = section->n_full,
        };
        FOR_EACH_ROOM(p, section, MLG_ROOM_LOBBY) {
                add_lobby(p, ret);
        }
        FOR_EACH_ROOM(p, section, MLG_ROOM_PAIR) {
                add_pair(p, now, ret);
        }
}
