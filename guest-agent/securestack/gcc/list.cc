// SPDX-License-Identifier: GPL-2.0-or-later
// Lists and rules; list.h.
#include <fnmatch.h>

#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <regex.h>
#include <sstream>

#include "../never.h"
#include "list.h"

namespace {

constexpr size_t sees_max = 32; // of one function, as for ss-wrap; there is room for 64 ranges in a call
constexpr unsigned long bytes_max = 1u << 30;

struct Pattern {
        explicit Pattern(const char *text) {
                regcomp(&regex, text, REG_EXTENDED);
        }
        ~Pattern() {
                regfree(&regex);
        }
        // The whole of TEXT; groups that are not there are "".
        bool match(const std::string &text, std::vector<std::string> *ret_groups) const {
                regmatch_t at[10];

                if (regexec(&regex, text.c_str(), 10, at, 0) != 0)
                        return false;
                ret_groups->clear();
                for (const regmatch_t &m : at)
                        ret_groups->push_back(m.rm_so < 0 ? "" : text.substr(m.rm_so, m.rm_eo - m.rm_so));
                return true;
        }
        regex_t regex;
};

bool number(const std::string &text, unsigned long max, unsigned long *ret) {
        if (text.empty() || text.size() > 10 || text.find_first_not_of("0123456789") != std::string::npos)
                return false;
        *ret = std::stoul(text);
        return *ret <= max;
}

std::string see_parse(const std::string &value, Rules *rules) {
        static const Pattern address("^(\\*?)([1-6])(\\+([0-9]+))?$");
        static const Pattern size("^(#([1-6])(\\.([48])\\+([0-9]+))?)?(\\*?([0-9]+))?$");
        size_t colon = value.find(':');
        std::string bytes = colon == std::string::npos ? "" : value.substr(colon + 1);
        std::vector<std::string> a, s;
        unsigned long offset = 0, size_offset = 0, n = 1;
        ss_see see = {};

        if (colon == std::string::npos || !address.match(value.substr(0, colon), &a))
                return "expected N, N+OFFSET or *N+OFFSET before the colon, where N is an argument, 1 to 6";
        if (bytes.empty() || (bytes != "string" && !size.match(bytes, &s)))
                return "expected BYTES, string, #N or #N.4+OFFSET behind the colon, "
                       "the latter two also with *BYTES";
        if (!a[4].empty() && !number(a[4], UINT16_MAX, &offset))
                return "expected an offset up to 65535";
        see.argument = static_cast<uint8_t>(a[2][0] - '0');
        see.loaded = !a[1].empty();
        see.offset = static_cast<uint16_t>(offset);
        if (bytes == "string") {
                n = SS_STRING;
        } else {
                if (!s[5].empty() && !number(s[5], UINT16_MAX, &size_offset))
                        return "expected an offset up to 65535";
                if (!s[7].empty() && !number(s[7], bytes_max, &n))
                        return "expected a number up to " + std::to_string(bytes_max);
                see.size_argument = s[2].empty() ? 0 : static_cast<uint8_t>(s[2][0] - '0');
                see.size_loaded = s[4].empty() ? 0 : static_cast<uint8_t>(s[4][0] - '0');
                see.size_offset = static_cast<uint16_t>(size_offset);
        }
        see.bytes = static_cast<uint32_t>(n);
        if (rules->sees.size() == sees_max)
                return "at most " + std::to_string(sees_max) + " see= are possible";
        rules->sees.push_back(see);
        return "";
}

std::vector<std::string> words(const std::string &text) {
        std::istringstream stream(text);
        std::vector<std::string> all;

        for (std::string word; stream >> word;)
                all.push_back(word);
        return all;
}

// "#" begins a comment, but not before a digit, which is a size.
std::string without_comment(const std::string &text) {
        for (size_t i = 0; i < text.size(); i++)
                if (text[i] == '#' &&
                    !(i + 1 < text.size() && isdigit(static_cast<unsigned char>(text[i + 1]))))
                        return text.substr(0, i);
        return text;
}

} // namespace

std::string rule_parse(const std::string &rule, Rules *rules) {
        size_t equals = rule.find('=');
        std::string name = rule.substr(0, equals), why;
        std::string value = equals == std::string::npos ? "" : rule.substr(equals + 1);
        // The compiler knows these two better than a list; they are there for ss-wrap.
        unsigned long n = 0, max = name == "vectors" ? 8 : name == "stack" ? SS_STACK_BYTES : bytes_max;

        if (name == "see" && equals != std::string::npos) {
                why = see_parse(value, rules);
        } else if ((name == "vectors" || name == "stack" || name == "clear") &&
                   equals != std::string::npos) {
                if (!number(value, max, &n))
                        why = "expected a number up to " + std::to_string(max);
                else if (name == "clear")
                        rules->clear_bytes = static_cast<uint32_t>(n);
        } else if (rule == "fork") {
                rules->flags |= SS_FORK;
        } else if (rule == "wide") {
                rules->flags |= SS_WIDE;
        } else if (rule == "secrets-only") {
                rules->flags &= ~SS_FRAME;
        } else {
                why = "there is no such rule; see=, clear=, fork, wide and secrets-only are";
        }
        return why.empty() ? "" : rule + ": " + why;
}

std::string List::line_parse(const std::string &text) {
        static const Pattern symbol("^[A-Za-z_][A-Za-z0-9_$.]*$");
        std::vector<std::string> all = words(text), unused;
        Line line = {};

        line.is_left_out = all[0][0] == '!';
        line.pattern = all[0].substr(line.is_left_out);
        line.is_glob = line.pattern.find_first_of("*?[") != std::string::npos;
        if (line.pattern.empty() || (!line.is_glob && !symbol.match(line.pattern, &unused)))
                return line.pattern + ": not the name of a function";
        if (!line.is_left_out && ss_is_never(line.pattern.c_str()))
                return line.pattern + ": returns twice, or to elsewhere; it cannot be guarded";
        for (size_t i = 1; i < all.size(); i++) {
                std::string why = rule_parse(all[i], &line.rules);

                if (!why.empty())
                        return line.pattern + ": " + why;
        }
        lines.push_back(line);
        return "";
}

std::string List::load(const std::string &path) {
        std::ifstream file(path);
        std::string text;

        if (!file)
                return path + ": cannot be read: " + strerror(errno);
        for (unsigned n = 1; std::getline(file, text); n++) {
                text = without_comment(text);
                if (words(text).empty())
                        continue;
                std::string why = line_parse(text);
                if (!why.empty())
                        return path + ":" + std::to_string(n) + ": " + why;
        }
        return file.bad() ? path + ": cannot be read" : "";
}

// The library's own functions are what the gates are made of.
static bool is_ours(const std::string &symbol) {
        static const char *const names[] = { "ss_arm_",          "ss_backend",     "ss_expose",
                                             "ss_hide",          "ss_init",        "ss_scrub_",
                                             "ss_secret_begin_", "ss_secret_end_", "ss_strerror" };

        for (const char *name : names)
                if (symbol == name)
                        return true;
        return false;
}

const Rules *List::find(const std::string &symbol, bool is_foreign) const {
        const Rules *found = nullptr;

        for (const Line &line : lines) {
                if (line.is_glob ? fnmatch(line.pattern.c_str(), symbol.c_str(), 0) != 0
                                 : line.pattern != symbol)
                        continue;
                if (line.is_left_out)
                        found = nullptr;
                else if (!line.is_glob || (is_foreign && !ss_is_never(symbol.c_str()) && !is_ours(symbol)))
                        found = &line.rules;
        }
        return found;
}
