// SPDX-License-Identifier: GPL-2.0-or-later
// Entries as assembler; gate.h.
#include <cstddef>

#include "gate.h"

static_assert(sizeof(ss_see) == 12 && offsetof(ss_see, size_argument) == 4 && offsetof(ss_see, bytes) == 8,
              "see_text() writes it");
static_assert(sizeof(ss_spec) == 40 && offsetof(ss_spec, stack_bytes) == 16 && offsetof(ss_spec, sees) == 24,
              "spec_text() writes it");

static std::string directive(const char *name, unsigned long value) {
        return std::string("\t.") + name + " " + std::to_string(value) + "\n";
}

static std::string see_text(const ss_see &see) {
        return directive("byte", see.argument) + directive("byte", see.loaded) +
               directive("value", see.offset) + directive("byte", see.size_argument) +
               directive("byte", see.size_loaded) + directive("value", see.size_offset) +
               directive("long", see.bytes);
}

// "@" stands for the entry's number.
static std::string spec_text(const Gate &gate) {
        std::string text = "\t.quad " + gate.function + "\n";

        text += directive("long", gate.rules.flags | SS_NEVER_REFUSE) +
                directive("long", gate.rules.clear_bytes) + directive("value", gate.stack_bytes) +
                directive("byte", gate.vectors) + directive("byte", gate.rules.sees.size()) +
                directive("long", 0) + "\t.quad .Lss_sees_@\n\t.quad .Lss_name_@\n.Lss_sees_@:\n";
        for (const ss_see &see : gate.rules.sees)
                text += see_text(see);
        return text + ".Lss_name_@:\n\t.string \"" + gate.function + "\"\n";
}

std::string Gates::symbol(const Gate &gate) {
        std::string spec = spec_text(gate);
        size_t i = 0;

        while (i < specs.size() && specs[i] != spec)
                i++;
        if (i == specs.size()) {
                specs.push_back(spec);
                functions.push_back(gate.function);
        }
        return "ss_guard." + functions[i] + "." + std::to_string(i);
}

static std::string numbered(std::string text, size_t i) {
        for (size_t at; (at = text.find('@')) != std::string::npos;)
                text.replace(at, 1, std::to_string(i));
        return text;
}

std::string Gates::text(bool is_portable) const {
        std::string all = specs.empty() ? "" : gate_text; // which looks whether the unit has it already

        for (size_t i = 0; i < specs.size(); i++) {
                std::string entry = "ss_guard." + functions[i] + "." + std::to_string(i),
                            n = std::to_string(i);

                all += "\t.section .data.rel.ro.local,\"aw\",%progbits\n\t.p2align 3\n.Lss_spec_" + n +
                       ":\n" + numbered(specs[i], i) + "\t.text\n\t.p2align 4\n\t.type " + entry +
                       ", %function\n" + entry + ":\n\t.cfi_startproc\n\tendbr64\n\tleaq .Lss_spec_" + n +
                       "(%rip), %r11\n\tjmp ss_gate_wrap_\n\t.cfi_endproc\n\t.size " + entry + ", . - " +
                       entry + "\n";
        }
        if (is_portable && !specs.empty())
                all += "\t.text\n.Lss_portable:\n\tendbr64\n\tmovl $" + std::to_string(SS_PORTABLE) +
                       ", %edi\n\tjmp *ss_init@GOTPCREL(%rip)\n"
                       "\t.section .init_array,\"aw\",%init_array\n\t.p2align 3\n\t.quad .Lss_portable\n";
        return all;
}
