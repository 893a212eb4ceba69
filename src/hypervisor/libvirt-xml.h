/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-xml: a domain's XML -> the facts of a guest. Text in, values out: no libvirt, no network, no
 * files.
 *
 * A domain's XML is written by whoever may define guests, in parts (metadata) quite freely; it is refused
 * when it is too large, too deep or has a document type, which libvirt's own XML never has. Thread-safe
 * after mlg_domain_xml_init(). */
#pragma once

#include <stddef.h>

#include <glib.h>

#include "memlego/hypervisor.h"

void mlg_domain_xml_init(void); /* once, before threads use the parser */

/* Fills all but run_state and migrating, which the XML does not tell. 0; -EBADMSG: not a domain with name,
 * UUID and memory; -E2BIG. */
int mlg_domain_xml_parse(const char *xml, size_t len, MlgGuestInfo *ret);

/* What must be said to a guest with virtio-mem devices so that it comes to that size, rounded down to their
 * blocks: the XML of each device whose requested size changes (array of char *), as virDomainUpdateDeviceFlags()
 * takes it. Devices are filled in their order, and emptied from the last. 0; -EOPNOTSUPP: it has none that are
 * understood; -EBADMSG; -E2BIG. */
int mlg_domain_xml_resize(const char *xml, size_t len, uint64_t target_kib, GPtrArray **ret);
