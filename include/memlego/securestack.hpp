// SPDX-License-Identifier: LGPL-2.1-or-later
// SecureStack for C++ programs (C++17): securestack.h in its own words. Header only, on top of
// libsecurestack.
//
//     std::array<uint8_t, 32> key;
//     memlego::ss::Secret guard(key);
//     int r = memlego::ss::Call().expose(&stream, sizeof stream)(inflate, &stream, Z_FINISH);
//
// A call that is refused throws memlego::ss::Refused. Exceptions of the function come out as they would
// without, with everything restored.
#pragma once

#include <stdexcept>
#include <type_traits>

#include "memlego/securestack.h"

namespace memlego::ss {

class Refused : public std::runtime_error {
      public:
        explicit Refused(int status) : std::runtime_error(ss_strerror(status)), status(status) {
        }
        const int status; // -errno
};

// VARIABLE is hidden in all calls of this thread, and wiped at the end of the scope. Only for automatic
// variables: the last that began has to end first.
class Secret {
      public:
        template <class T>
        [[gnu::always_inline]] explicit Secret(T &variable)
            : secret(ss_secret_begin_(&variable, sizeof variable, __builtin_dwarf_cfa())) {
                static_assert(std::is_trivially_copyable_v<T>,
                              "of others the secret is not what &variable points to");
        }
        ~Secret() {
                ss_secret_end_(&secret);
        }
        Secret(const Secret &) = delete;
        Secret &operator=(const Secret &) = delete;

      private:
        ss_secret secret;
};

class Call {
      public:
        explicit Call(unsigned flags = 0) {
                call.spec.flags = flags;
        }

        Call &hide(void *address, size_t bytes) {
                ss_hide(&call, address, bytes);
                return *this;
        }
        Call &expose(void *address, size_t bytes) {
                ss_expose(&call, address, bytes);
                return *this;
        }

        // Inline, as the caller's frame is what is to be hidden.
        template <class R, class... P, class... A>
        [[gnu::always_inline]] inline R operator()(R (*function)(P...), A... arguments) {
                static_assert((is_plain<P> && ...),
                              "numbers and pointers only: hand over a structure by a pointer");
                static_assert(std::is_void_v<R> || is_plain<R>,
                              "the result has to be a number or a pointer");
                static_assert(sizeof...(P) <= 16, "16 arguments at most");
                call.status = 0;
                auto gate = reinterpret_cast<R (*)(P...)>(
                        ss_arm_(&call, reinterpret_cast<void (*)()>(function),
                                classes((0u + ... + (std::is_floating_point_v<P> ? 0u : 1u)),
                                        (0u + ... + (std::is_floating_point_v<P> ? 1u : 0u))),
                                __builtin_dwarf_cfa(), ss_gate_));
                if constexpr (std::is_void_v<R>) {
                        gate(arguments...);
                        if (call.status < 0)
                                throw Refused(call.status);
                } else {
                        R result = gate(arguments...);
                        if (call.status < 0)
                                throw Refused(call.status);
                        return result;
                }
        }

      private:
        template <class T>
        static constexpr bool is_plain = std::is_reference_v<T> ||
                                         (std::is_scalar_v<T> && !std::is_member_pointer_v<T> &&
                                          !std::is_same_v<std::remove_cv_t<T>, long double>);

        static constexpr unsigned classes(unsigned words, unsigned floats) {
                return 8 * ((words > 6 ? words - 6 : 0) + (floats > 8 ? floats - 8 : 0)) << 8 |
                       (floats < 8 ? floats : 8);
        }

        ss_call call = {};
};

} // namespace memlego::ss
