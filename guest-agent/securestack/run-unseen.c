// SPDX-License-Identifier: LGPL-2.1-or-later
/* What ss-run does not see, for who asks (--verbose): functions of untrusted libraries of which a trusted one
 * has the address, from where the linker has written it when it was loaded. It calls them without asking
 * anybody; also where it calls them by name, as one place of memory serves both. */
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdint.h>

#include "run.h"

/* The linker has made addresses of these, or leaves them relative. */
static uintptr_t address_of(const struct link_map *map, uintptr_t value) {
        return value && value < map->l_addr ? value + map->l_addr : value;
}

/* Whose address is written, if it is a function of another library; or NULL. */
static const char *function_of(const Elf64_Rela *rela, const Elf64_Sym *symbols, const char *names) {
        const Elf64_Sym *symbol = &symbols[ELF64_R_SYM(rela->r_info)];
        unsigned kind = ELF64_R_TYPE(rela->r_info), type = ELF64_ST_TYPE(symbol->st_info);

        if ((kind != R_X86_64_GLOB_DAT && kind != R_X86_64_64) || symbol->st_shndx != SHN_UNDEF)
                return NULL;
        return type == STT_FUNC || type == STT_GNU_IFUNC ? names + symbol->st_name : NULL;
}

void ss_run_each_unseen_(const struct link_map *map, ss_run_unseen *tell) {
        uintptr_t relas = 0, symbols = 0, names = 0, bytes = 0;

        for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++) {
                if (d->d_tag == DT_RELA)
                        relas = address_of(map, d->d_un.d_ptr);
                if (d->d_tag == DT_SYMTAB)
                        symbols = address_of(map, d->d_un.d_ptr);
                if (d->d_tag == DT_STRTAB)
                        names = address_of(map, d->d_un.d_ptr);
                if (d->d_tag == DT_RELASZ)
                        bytes = d->d_un.d_val;
        }
        if (!relas || !symbols || !names)
                return;
        for (uintptr_t at = relas; at < relas + bytes; at += sizeof(Elf64_Rela)) {
                const Elf64_Rela *rela = (const Elf64_Rela *) at;
                const char *name = function_of(rela, (const Elf64_Sym *) symbols, (const char *) names);
                void *target = NULL;
                Dl_info info;

                if (name && dladdr1(*(void **) (map->l_addr + rela->r_offset), &info, &target, RTLD_DL_LINKMAP))
                        tell(name, target);
        }
}
