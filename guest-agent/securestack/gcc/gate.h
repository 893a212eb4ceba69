// SPDX-License-Identifier: GPL-2.0-or-later
// Entries into the gate of securestack-gate.h, as assembler: what ss-wrap has the compiler make of C.
//
// Knows nothing of GCC. Calls that need the same share an entry; the text has no global symbols, as each
// unit brings its own.
#pragma once

#include <string>
#include <vector>

#include "list.h"

struct Gate {
        std::string function; // its symbol
        Rules rules;
        unsigned vectors, stack_bytes; // of arguments
};

class Gates {
      public:
        // Of the entry that is to be called instead.
        std::string symbol(const Gate &gate);
        std::string text(bool is_portable) const;

      private:
        std::vector<std::string> specs, functions; // what an entry consists of, but for its number
};
