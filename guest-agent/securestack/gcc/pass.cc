// SPDX-License-Identifier: GPL-2.0-or-later
// A plug-in of GCC 12, securestack-gcc(7): variables that are marked as sensitive are secrets of
// libsecurestack from the beginning to the end of their function, and functions that are not trusted are
// called through its gate.
//
// It works on functions as they are written, before anything is inlined: so what is inlined later is
// guarded as well. What a gate needs is written as assembler at the end of the unit, the same as ss-wrap
// writes.
//
// Invariant: a call of an untrusted function by its name is guarded, or an error of compilation.
#include "gcc-plugin.h"
#include "plugin-version.h"
#include "tree.h"
#include "stringpool.h"
#include "attribs.h"
#include "tree-pass.h"
#include "tree-dfa.h"
#include "stor-layout.h"
#include "context.h"
#include "function.h"
#include "gimple.h"
#include "gimple-iterator.h"
#include "gimple-walk.h"
#include "gimplify.h"
#include "gimple-expr.h"
#include "cgraph.h"
#include "diagnostic-core.h"
#include "options.h"
#include "output.h"

#include "../never.h"
#include "gate.h"
#include "list.h"
#include "report.h"

int plugin_is_GPL_compatible;

namespace {

List list;
Gates gates;
Report report;
bool is_portable;

std::string name_of(tree decl) {
        return IDENTIFIER_POINTER(DECL_ASSEMBLER_NAME(decl)) +
               (IDENTIFIER_POINTER(DECL_ASSEMBLER_NAME(decl))[0] == '*');
}

std::string where(location_t location) {
        expanded_location at = expand_location(location);

        return std::string(at.file ? at.file : "?") + ":" + std::to_string(at.line);
}

// ---- what is marked ----

bool is_sensitive(tree decl) {
        tree type = strip_array_types(TREE_TYPE(decl));

        return lookup_attribute("sensitive", DECL_ATTRIBUTES(decl)) ||
               (type != error_mark_node && lookup_attribute("sensitive", TYPE_ATTRIBUTES(type)));
}

// Before its uses are made GIMPLE: what is in memory is not handled as registers are.
tree handle_sensitive(tree *node, tree name, tree, int, bool *no_add) {
        if (VAR_P(*node) || TREE_CODE(*node) == PARM_DECL)
                TREE_ADDRESSABLE(*node) = 1;
        else if (!TYPE_P(*node)) {
                error("%qE is for automatic variables, parameters and types", name);
                *no_add = true;
        }
        return NULL_TREE;
}

tree handle_untrusted(tree *node, tree name, tree args, int, bool *no_add) {
        Rules rules;

        if (TREE_CODE(*node) != FUNCTION_DECL) {
                error("%qE is for functions", name);
                *no_add = true;
                return NULL_TREE;
        }
        for (; args; args = TREE_CHAIN(args)) {
                std::string why = TREE_CODE(TREE_VALUE(args)) != STRING_CST
                                          ? "a rule is a string"
                                          : rule_parse(TREE_STRING_POINTER(TREE_VALUE(args)), &rules);

                if (!why.empty()) {
                        error("%qE: %s", name, why.c_str());
                        *no_add = true;
                }
        }
        return NULL_TREE;
}

const attribute_spec attributes[] = {
        { "sensitive", 0, 0, false, false, false, false, handle_sensitive, NULL },
        { "untrusted", 0, 32, true, false, false, false, handle_untrusted, NULL },
};

void on_attributes(void *, void *) {
        for (const attribute_spec &spec : attributes)
                register_attribute(&spec);
}

void on_declared(void *data, void *) {
        tree decl = static_cast<tree>(data);

        if (!VAR_P(decl) || !is_sensitive(decl))
                return;
        TREE_ADDRESSABLE(decl) = 1;
        if (TREE_STATIC(decl) || DECL_EXTERNAL(decl))
                error_at(DECL_SOURCE_LOCATION(decl), "%qD is not on the stack: it cannot be sensitive",
                         decl);
}

// Whether it is trusted, and by which rules not.
bool find_rules(tree function, Rules *ret) {
        tree attribute = lookup_attribute("untrusted", DECL_ATTRIBUTES(function));
        const Rules *found = list.find(name_of(function), DECL_EXTERNAL(function));

        if (found)
                *ret = *found;
        for (tree arg = attribute ? TREE_VALUE(attribute) : NULL_TREE; arg; arg = TREE_CHAIN(arg))
                (void) rule_parse(TREE_STRING_POINTER(TREE_VALUE(arg)), ret);
        return found || attribute;
}

// Before it is decided what is needed: that an entry calls a function is in assembler, which the
// compiler does not see.
void on_function(void *data, void *) {
        tree function = static_cast<tree>(data);
        Rules rules;

        for (tree parm = DECL_ARGUMENTS(function); parm; parm = DECL_CHAIN(parm))
                if (is_sensitive(parm))
                        TREE_ADDRESSABLE(parm) = 1;
        if (find_rules(function, &rules))
                DECL_PRESERVE_P(function) = DECL_UNINLINABLE(function) = 1;
}

// ---- calls ----

bool has_rule(const Rules &rules, unsigned argument) {
        for (const ss_see &see : rules.sees)
                if (see.argument == argument && !see.loaded)
                        return true;
        return false;
}

// A local variable that is handed over by its address is there to be seen by the function; but not a secret.
std::string add_local(tree value, unsigned argument, Rules *rules) {
        tree base = TREE_CODE(value) == ADDR_EXPR ? get_base_address(TREE_OPERAND(value, 0)) : NULL_TREE;
        poly_int64 offset;
        ss_see see = {};

        if (!base || !DECL_P(base) || !auto_var_in_fn_p(base, current_function_decl) ||
            has_rule(*rules, argument))
                return "";
        std::string number = std::to_string(argument);
        if (is_sensitive(base))
                return "argument " + number + " points to what is sensitive: say by a rule see=" + number +
                       ":BYTES what of it may be seen";
        if (!get_addr_base_and_unit_offset(TREE_OPERAND(value, 0), &offset) || !offset.is_constant() ||
            !tree_fits_uhwi_p(DECL_SIZE_UNIT(base)) || argument > 6)
                return "argument " + number +
                       " points to a local variable: "
                       "say by a rule see= how much of it may be seen";
        see.argument = static_cast<uint8_t>(argument);
        see.bytes = static_cast<uint32_t>(tree_to_uhwi(DECL_SIZE_UNIT(base)) - offset.to_constant());
        rules->sees.push_back(see);
        return "";
}

// Where arguments are, by the x86-64 ABI; "" or why a gate cannot hand them over.
std::string add_arguments(gcall *call, Rules *rules, Gate *gate) {
        unsigned words = 0, floats = 0;

        for (unsigned i = 0; i < gimple_call_num_args(call); i++) {
                tree value = gimple_call_arg(call, i), type = TREE_TYPE(value);

                if (SCALAR_FLOAT_TYPE_P(type) && int_size_in_bytes(type) <= 8) {
                        floats++;
                } else if ((INTEGRAL_TYPE_P(type) || POINTER_TYPE_P(type)) && int_size_in_bytes(type) <= 8) {
                        std::string why = add_local(value, ++words, rules);
                        if (!why.empty())
                                return why;
                } else {
                        return "argument " + std::to_string(i + 1) +
                               " is neither a number of up to 8 bytes nor a pointer: "
                               "hand it over by a pointer";
                }
        }
        gate->vectors = floats < 8 ? floats : 8;
        gate->stack_bytes = 8 * ((words > 6 ? words - 6 : 0) + (floats > 8 ? floats - 8 : 0));
        return gate->stack_bytes <= SS_STACK_BYTES ? "" : "it has too many arguments on the stack";
}

std::string check_result(tree type) {
        if (VOID_TYPE_P(type))
                return "";
        if (AGGREGATE_TYPE_P(type) || int_size_in_bytes(type) > 8)
                return "its result is neither a number of up to 8 bytes nor a pointer";
        return "";
}

// With the same type, but nothing that lets the compiler do without the call, or know what it does.
tree gate_decl(tree function, const std::string &symbol) {
        tree decl = build_decl(UNKNOWN_LOCATION, FUNCTION_DECL, get_identifier(symbol.c_str()),
                               TREE_TYPE(function));

        SET_DECL_ASSEMBLER_NAME(decl, get_identifier(symbol.c_str()));
        DECL_EXTERNAL(decl) = TREE_PUBLIC(decl) = 1;
        DECL_ARTIFICIAL(decl) = DECL_IGNORED_P(decl) = 1;
        DECL_VISIBILITY(decl) = VISIBILITY_HIDDEN;
        DECL_VISIBILITY_SPECIFIED(decl) = 1;
        TREE_NOTHROW(decl) = TREE_NOTHROW(function);
        TREE_THIS_VOLATILE(decl) = TREE_THIS_VOLATILE(function);
        return decl;
}

// After the call, so that it is not a jump: the frame that is to be hidden has to be there.
void forbid_tail_call(gimple_stmt_iterator *gsi) {
        gasm *nothing = gimple_build_asm_vec("", NULL, NULL, NULL, NULL);

        gimple_asm_set_volatile(nothing, true);
        gsi_insert_after(gsi, nothing, GSI_NEW_STMT);
}

void guard(gimple_stmt_iterator *gsi, gcall *call, tree function, Rules rules) {
        Gate gate = { name_of(function), {}, 0, 0 };
        std::string why = ss_is_never(gate.function.c_str()) ? "it returns twice, or to elsewhere" : "";

        if (why.empty())
                why = check_result(gimple_call_return_type(call));
        if (why.empty())
                why = add_arguments(call, &rules, &gate);
        if (why.empty() && rules.sees.size() > 32)
                why = "at most 32 see= are possible";
        if (!why.empty()) {
                error_at(gimple_location(call), "call of untrusted %qD cannot be guarded: %s", function,
                         why.c_str());
                return;
        }
        gate.rules = rules;
        report.guarded(name_of(current_function_decl), gate, where(gimple_location(call)));
        TREE_SYMBOL_REFERENCED(DECL_ASSEMBLER_NAME(function)) = 1;
        gimple_call_set_fndecl(call, gate_decl(function, gates.symbol(gate)));
        forbid_tail_call(gsi);
}

// ---- functions ----

tree visit(gimple_stmt_iterator *gsi, bool *handled, walk_stmt_info *info) {
        auto *secrets = static_cast<std::vector<tree> *>(info->info);
        gimple *stmt = gsi_stmt(*gsi);
        Rules rules;

        *handled = false;
        if (gbind *bind = dyn_cast<gbind *>(stmt)) {
                for (tree var = gimple_bind_vars(bind); var; var = DECL_CHAIN(var))
                        if (VAR_P(var) && is_sensitive(var) && !TREE_STATIC(var) && !DECL_EXTERNAL(var))
                                secrets->push_back(var);
        } else if (gimple_clobber_p(stmt)) { // or its place were used for others, before it is wiped
                tree var = gimple_assign_lhs(stmt);

                if (VAR_P(var) && is_sensitive(var)) {
                        gsi_replace(gsi, gimple_build_nop(), false);
                        *handled = true;
                }
        } else if (gcall *call = dyn_cast<gcall *>(stmt)) {
                tree function = gimple_call_fndecl(call);

                if (gimple_call_internal_p(call))
                        return NULL_TREE;
                if (!function) {
                        report.indirect(name_of(current_function_decl), where(gimple_location(call)));
                        return NULL_TREE;
                }
                report.call(name_of(current_function_decl), name_of(function));
                if (find_rules(function, &rules))
                        guard(gsi, call, function, rules);
        }
        return NULL_TREE;
}

std::string check_secret(tree var) {
        if (!tree_fits_uhwi_p(DECL_SIZE_UNIT(var)))
                return "its size is not known when it is compiled";
        if (DECL_HAS_VALUE_EXPR_P(var) || (TREE_CODE(var) == PARM_DECL && DECL_BY_REFERENCE(var)))
                return "it is in another function's frame";
        if (is_gimple_reg(var))
                return "it could not be kept in memory";
        return "";
}

struct Runtime {
        tree secret, begin, end;
};

tree external(const char *name, tree type) {
        tree decl = build_fn_decl(name, type);

        TREE_NOTHROW(decl) = 1;
        return decl;
}

const Runtime &runtime() {
        static Runtime made; // no collection runs before the unit's end: see the roots below
        if (made.secret)
                return made;
        tree fields = NULL_TREE;
        made.secret = make_node(RECORD_TYPE);
        for (const char *name : { "address", "bytes", "index" }) {
                tree field = build_decl(UNKNOWN_LOCATION, FIELD_DECL, get_identifier(name), size_type_node);
                DECL_CHAIN(field) = fields;
                fields = field;
        }
        finish_builtin_struct(made.secret, "ss_secret", fields, NULL_TREE);
        made.begin = external("ss_secret_begin_",
                              build_function_type_list(made.secret, ptr_type_node, size_type_node,
                                                       ptr_type_node, NULL_TREE));
        made.end = external("ss_secret_end_",
                            build_function_type_list(void_type_node, ptr_type_node, NULL_TREE));
        static ggc_root_tab roots[] = { { &made, 3, sizeof(tree), &gt_ggc_mx_tree_node,
                                          &gt_pch_nx_tree_node },
                                        LAST_GGC_ROOT_TAB };
        register_callback("securestack", PLUGIN_REGISTER_GGC_ROOTS, NULL, roots);
        return made;
}

// begin...; try { BODY } finally { end... }
void wrap(gbind *body, const std::vector<tree> &secrets) {
        const Runtime &rt = runtime();
        gimple_seq begins = NULL, ends = NULL, more;
        tree cfa = create_tmp_var(ptr_type_node, "cfa");
        gcall *call = gimple_build_call(builtin_decl_explicit(BUILT_IN_DWARF_CFA), 0);

        gimple_call_set_lhs(call, cfa);
        gimple_seq_add_stmt(&begins, call);
        for (tree var : secrets) {
                tree secret = create_tmp_var(rt.secret, "ss_secret");
                TREE_ADDRESSABLE(secret) = TREE_ADDRESSABLE(var) = 1;
                call = gimple_build_call(rt.begin, 3, build_fold_addr_expr(var),
                                         fold_convert(size_type_node, DECL_SIZE_UNIT(var)), cfa);
                gimple_call_set_lhs(call, secret);
                gimple_seq_add_stmt(&begins, call);
                more = ends; // the last that began ends first
                ends = NULL;
                gimple_seq_add_stmt(&ends, gimple_build_call(rt.end, 1, build_fold_addr_expr(secret)));
                gimple_seq_add_seq(&ends, more);
        }
        gimple_seq_add_stmt(&begins, gimple_build_try(gimple_bind_body(body), ends, GIMPLE_TRY_FINALLY));
        gimple_bind_set_body(body, begins);
}

const pass_data data = { GIMPLE_PASS, "securestack", OPTGROUP_NONE, TV_NONE, PROP_gimple_any, 0, 0, 0, 0 };

class Pass : public gimple_opt_pass {
      public:
        explicit Pass(gcc::context *context) : gimple_opt_pass(data, context) {
        }
        unsigned int execute(function *f) override {
                std::vector<tree> secrets;
                std::vector<std::string> names;
                walk_stmt_info info = {};
                gimple_seq body = gimple_body(f->decl);

                info.info = &secrets;
                for (tree parm = DECL_ARGUMENTS(f->decl); parm; parm = DECL_CHAIN(parm))
                        if (is_sensitive(parm))
                                secrets.push_back(parm);
                walk_gimple_seq_mod(&body, visit, NULL, &info);
                gimple_set_body(f->decl, body);
                for (tree var : secrets) {
                        std::string why = check_secret(var);
                        if (!why.empty()) {
                                error_at(DECL_SOURCE_LOCATION(var), "%qD cannot be hidden: %s", var,
                                         why.c_str());
                                return 0;
                        }
                        names.push_back(DECL_NAME(var) ? IDENTIFIER_POINTER(DECL_NAME(var)) : "(unnamed)");
                }
                report.function(name_of(f->decl), names, where(DECL_SOURCE_LOCATION(f->decl)));
                if (!secrets.empty())
                        wrap(as_a<gbind *>(gimple_seq_first_stmt(body)), secrets);
                return 0;
        }
};

// ---- the unit ----

void on_begin(void *, void *) {
        if (flag_lto)
                error("securestack does not work with %<-flto%>: gates are made unit by unit; leave it out");
        if (!flag_unwind_tables && !flag_asynchronous_unwind_tables)
                error("securestack needs unwind tables to find frames: leave out "
                      "%<-fno-asynchronous-unwind-tables%>");
}

// By a statement, or by what a variable begins with.
void on_references_known(void *, void *) {
        cgraph_node *node;
        Rules rules;

        FOR_EACH_FUNCTION(node)
                if (node->address_taken && find_rules(node->decl, &rules))
                        report.address_taken(name_of(node->decl), where(DECL_SOURCE_LOCATION(node->decl)));
}

void on_end(void *, void *) {
        if (seen_error())
                return;
        if (!flag_syntax_only && asm_out_file)
                fputs(gates.text(is_portable).c_str(), asm_out_file);
        std::string why = report.write(main_input_filename ? main_input_filename : "?");
        if (!why.empty())
                error("%s", why.c_str());
}

bool take(const plugin_argument &argument) {
        std::string key = argument.key, why;

        if (key == "portable" && !argument.value)
                is_portable = true;
        else if (key == "list" && argument.value)
                why = list.load(argument.value);
        else if (key == "report" && argument.value)
                report.path = argument.value;
        else
                why = "unknown option " + key + ": there are list=FILE, report=FILE and portable";
        if (!why.empty())
                error("securestack: %s", why.c_str());
        return why.empty();
}

} // namespace

int plugin_init(plugin_name_args *args, plugin_gcc_version *version) {
        register_pass_info pass = { new Pass(g), "lower", 1, PASS_POS_INSERT_BEFORE };

        if (!plugin_default_version_check(version, &gcc_version)) {
                error("securestack is for GCC %s, and this is %s", gcc_version.basever, version->basever);
                return 1;
        }
        for (int i = 0; i < args->argc; i++)
                if (!take(args->argv[i]))
                        return 1;
        register_callback(args->base_name, PLUGIN_ATTRIBUTES, on_attributes, NULL);
        register_callback(args->base_name, PLUGIN_FINISH_DECL, on_declared, NULL);
        register_callback(args->base_name, PLUGIN_PRE_GENERICIZE, on_function, NULL);
        register_callback(args->base_name, PLUGIN_START_UNIT, on_begin, NULL);
        register_callback(args->base_name, PLUGIN_ALL_IPA_PASSES_START, on_references_known, NULL);
        register_callback(args->base_name, PLUGIN_FINISH_UNIT, on_end, NULL);
        register_callback(args->base_name, PLUGIN_PASS_MANAGER_SETUP, NULL, &pass);
        return 0;
}
