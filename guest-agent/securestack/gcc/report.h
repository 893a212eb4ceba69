// SPDX-License-Identifier: GPL-2.0-or-later
// What the pass has seen of a unit: its functions with sensitive data, calls, guards, and what it
// cannot see.
//
// Knows nothing of GCC. A report is added to its file, so that a program of many units has one.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "gate.h"

class Report {
      public:
        std::string path; // "": none

        void function(const std::string &name, const std::vector<std::string> &secrets,
                      const std::string &where);
        void call(const std::string &from, const std::string &to);
        void guarded(const std::string &from, const Gate &gate, const std::string &where);
        void indirect(const std::string &from, const std::string &where);
        // once for a function, however often it is said
        void address_taken(const std::string &function, const std::string &where);
        // "" or why not
        std::string write(const std::string &unit) const;

      private:
        std::string paths(const std::string &from) const;
        std::string lines;
        std::set<std::string> defined, secretive, untrusted, taken, vague; // vague: with indirect calls
        std::map<std::string, std::set<std::string>> calls;
};
