// SPDX-License-Identifier: GPL-2.0-or-later
// The library in C++: what it has found of its caller's secrets it throws.
#include <stdexcept>
#include <string>

extern "C" int lib_spy(void);

extern "C" int lib_throw(void);
int lib_throw(void) {
        throw std::runtime_error(std::to_string(lib_spy()));
}
