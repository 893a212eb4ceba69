/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names: every name that others rely on, in one place.
 *
 * Bus names, object paths, directories, journal fields and MESSAGE_IDs are interfaces: they may be added
 * to, never changed. Directories come from the build so that a distribution can move them. */
#pragma once

/* D-Bus */
#define MLG_BUS_NAME "org.memlego1"
#define MLG_BUS_PATH "/org/memlego1"
#define MLG_BUS_PATH_GUEST "/org/memlego1/guest" /* + "/" + UUID with '-' written as '_' */
#define MLG_BUS_PATH_PIPE "/org/memlego1/pipe"   /* + "/" + name of the group by sd_bus_path_encode(3) */
#define MLG_BUS_PATH_SWAP "/org/memlego1/swap"   /* + "/" + UUID of the guest by sd_bus_path_encode(3) */
#define MLG_BUS_IFACE_MANAGER "org.memlego1.Manager"
#define MLG_BUS_IFACE_GUEST "org.memlego1.Guest"
#define MLG_BUS_IFACE_PIPE "org.memlego1.Pipe"
#define MLG_BUS_IFACE_SWAP "org.memlego1.Swap"
#define MLG_BUS_ERROR_PREFIX "org.memlego1.Error."

/* polkit actions; <prefix>.<verb> */
#define MLG_POLKIT_RELOAD "org.memlego1.reload"
#define MLG_POLKIT_PAUSE "org.memlego1.pause"
#define MLG_POLKIT_SET_TARGET "org.memlego1.set-target"
#define MLG_POLKIT_RESERVE "org.memlego1.reserve"
#define MLG_POLKIT_APPROVE "org.memlego1.approve"
#define MLG_POLKIT_PIPE "org.memlego1.pipe"

/* The group whose members may read everything on the bus. */
#define MLG_GROUP "memlego"

/* Directories and files. MLG_SYSCONFDIR, MLG_STATEDIR and MLG_PLUGINDIR are set by meson. */
#ifndef MLG_SYSCONFDIR
#define MLG_SYSCONFDIR "/etc"
#endif
#ifndef MLG_STATEDIR
#define MLG_STATEDIR "/var/lib/memlego"
#endif
#ifndef MLG_PLUGINDIR
#define MLG_PLUGINDIR "/usr/lib/memlego/plugins"
#endif
#define MLG_CONFIG_FILE MLG_SYSCONFDIR "/memlego/memlegod.conf"
#define MLG_POLICY_DIR_NAME "policy.d" /* beside the configuration file */
#define MLG_STATE_FILE_NAME "targets.json"
#define MLG_LEARNED_DIR_NAME "learned" /* in the same directory */
#define MLG_PLUGIN_RUNNING_NAME "plugins.running" /* there, too: which plug-in runs just now */

#define MLG_PIPE_DIR "/run/memlego/pipe" /* NAME.sock of each group that shares memory */
#define MLG_GUEST_PIDS_DIR "/run/libvirt/qemu" /* libvirt's: NAME.pid of each guest */

/* Metadata of a libvirt domain: <memlego:guest xmlns:memlego="https://memlego.org/guest/1" labels="db gold"/> */
#define MLG_METADATA_URI "https://memlego.org/guest/1"

/* Journal fields */
#define MLG_FIELD_GUEST "MEMLEGO_GUEST"
#define MLG_FIELD_UUID "MEMLEGO_UUID"
#define MLG_FIELD_FROM_KIB "MEMLEGO_FROM_KIB"
#define MLG_FIELD_TO_KIB "MEMLEGO_TO_KIB"
#define MLG_FIELD_REASON "MEMLEGO_REASON"
#define MLG_FIELD_PROPOSAL "MEMLEGO_PROPOSAL" /* its id */
#define MLG_FIELD_EVENT "MEMLEGO_EVENT"       /* what happened to it */
#define MLG_FIELD_BY "MEMLEGO_BY"             /* who answered it: "uid 1000 (:1.42)" */

/* Journal MESSAGE_IDs; texts in systemd/memlego.catalog */
#define MLG_MSG_RESIZED "a3f5c0a94ef04b0f8cc0f1a7b2f0b101"
#define MLG_MSG_RESIZE_FAILED "a3f5c0a94ef04b0f8cc0f1a7b2f0b102"
#define MLG_MSG_GUEST_ADDED "a3f5c0a94ef04b0f8cc0f1a7b2f0b103"
#define MLG_MSG_GUEST_REMOVED "a3f5c0a94ef04b0f8cc0f1a7b2f0b104"
#define MLG_MSG_GUEST_STATE "a3f5c0a94ef04b0f8cc0f1a7b2f0b105"
#define MLG_MSG_SHORTAGE "a3f5c0a94ef04b0f8cc0f1a7b2f0b106"
#define MLG_MSG_CONNECTED "a3f5c0a94ef04b0f8cc0f1a7b2f0b107"
#define MLG_MSG_DISCONNECTED "a3f5c0a94ef04b0f8cc0f1a7b2f0b108"
#define MLG_MSG_CONFIG_LOADED "a3f5c0a94ef04b0f8cc0f1a7b2f0b109"
#define MLG_MSG_CONFIG_REFUSED "a3f5c0a94ef04b0f8cc0f1a7b2f0b10a"
#define MLG_MSG_HOST_SHORT "a3f5c0a94ef04b0f8cc0f1a7b2f0b110"
#define MLG_MSG_HOST_EXHAUSTED "a3f5c0a94ef04b0f8cc0f1a7b2f0b111"
#define MLG_MSG_HOST_RECOVERED "a3f5c0a94ef04b0f8cc0f1a7b2f0b112"
#define MLG_MSG_PROPOSED "a3f5c0a94ef04b0f8cc0f1a7b2f0b120"
#define MLG_MSG_APPROVED "a3f5c0a94ef04b0f8cc0f1a7b2f0b121"
#define MLG_MSG_REJECTED "a3f5c0a94ef04b0f8cc0f1a7b2f0b122"
#define MLG_MSG_APPLIED "a3f5c0a94ef04b0f8cc0f1a7b2f0b123"
#define MLG_MSG_PROPOSAL_ENDED "a3f5c0a94ef04b0f8cc0f1a7b2f0b124"
#define MLG_MSG_ALLOWED "a3f5c0a94ef04b0f8cc0f1a7b2f0b125"
#define MLG_MSG_APPROVAL_AWAITED "a3f5c0a94ef04b0f8cc0f1a7b2f0b126"
#define MLG_MSG_PLUGIN_LOADED "a3f5c0a94ef04b0f8cc0f1a7b2f0b140"
#define MLG_MSG_PLUGIN_OFF "a3f5c0a94ef04b0f8cc0f1a7b2f0b141"
