// SPDX-License-Identifier: GPL-2.0-or-later
// Reports; report.h.
#include <cerrno>
#include <cstring>
#include <deque>
#include <fstream>

#include "report.h"

void Report::function(const std::string &name, const std::vector<std::string> &secrets,
                      const std::string &where) {
        defined.insert(name);
        if (secrets.empty())
                return;
        secretive.insert(name);
        lines += "sensitive " + name + " " + where + ":";
        for (const std::string &secret : secrets)
                lines += " " + secret;
        lines += "\n";
}

void Report::call(const std::string &from, const std::string &to) {
        calls[from].insert(to);
}

void Report::guarded(const std::string &from, const Gate &gate, const std::string &where) {
        untrusted.insert(gate.function);
        lines += "guarded " + from + " -> " + gate.function + " " + where + ": " +
                 (gate.rules.flags & SS_FRAME ? "frame and secrets" : "secrets only") + ", " +
                 std::to_string(gate.rules.sees.size()) + " ranges seen by it\n";
}

void Report::indirect(const std::string &from, const std::string &where) {
        vague.insert(from);
        lines += "not-seen " + from + " " + where + ": a call by a pointer, not guarded\n";
}

void Report::address_taken(const std::string &function, const std::string &where) {
        if (!taken.insert(function).second)
                return;
        lines += "not-seen " + function + " " + where + ": its address is taken, calls by that are not guarded\n";
}

// Shortest ones, breadth first; where they leave the unit nothing is known.
std::string Report::paths(const std::string &from) const {
        std::map<std::string, std::string> way = { { from, from } };
        std::deque<std::string> next = { from };
        std::string text;

        for (; !next.empty(); next.pop_front()) {
                const std::string name = next.front();
                auto found = calls.find(name);

                if (untrusted.count(name))
                        text += "path " + way[name] + "\n";
                else if (vague.count(name))
                        text += "path " + way[name] + " -> ? (by a pointer: not seen)\n";
                else if (!defined.count(name))
                        text += "path " + way[name] + " -> ? (not of this unit: not seen)\n";
                if (found == calls.end())
                        continue;
                for (const std::string &to : found->second)
                        if (way.emplace(to, way[name] + " -> " + to).second)
                                next.push_back(to);
        }
        return text;
}

std::string Report::write(const std::string &unit) const {
        std::string text = "unit " + unit + "\n" + lines;

        if (path.empty())
                return "";
        for (const std::string &name : secretive)
                text += paths(name);
        std::ofstream file(path, std::ios::app);
        file << text << std::flush;
        return file ? "" : path + ": cannot be written: " + strerror(errno);
}
