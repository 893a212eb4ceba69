// SPDX-License-Identifier: GPL-2.0-or-later
// Which functions are not trusted, and by which rules: lines of a file, or words of an attribute. The
// syntax is that of ss-wrap(1), so that one list does for both.
//
// Knows nothing of GCC. What is wrong is said in words, and nothing is taken then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// Its gate is for programs, not for a plug-in, which has it as text.
#define __asm__(text) inline const char gate_text[] = text
#include "memlego/securestack.h"
#undef __asm__

struct Rules {
        std::vector<ss_see> sees;
        uint32_t flags = SS_FRAME; // of struct ss_spec
        uint32_t clear_bytes = 0;
};

// One RULE more; "" or what was expected.
std::string rule_parse(const std::string &rule, Rules *rules);

class List {
      public:
        // "" or "FILE:LINE: what was expected"
        std::string load(const std::string &path);
        // Of the function with that symbol; NULL if it is not named. IS_FOREIGN: it is defined elsewhere, as
        // patterns are for those only.
        const Rules *find(const std::string &symbol, bool is_foreign) const;

      private:
        struct Line {
                std::string pattern;
                bool is_glob, is_left_out;
                Rules rules;
        };
        std::string line_parse(const std::string &text);
        std::vector<Line> lines;
};
