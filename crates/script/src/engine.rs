//! The engine that all scripts share. It is made of chosen parts: what is not registered here does
//! not exist for a script.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use rhai::packages::{
    ArithmeticPackage, BasicIteratorPackage, BasicMathPackage, BasicStringPackage, LogicPackage,
    Package,
};
use rhai::{AST, Dynamic, Engine, Scope};

use crate::error::{ScriptError, ScriptErrorKind, of_run, of_source};
use crate::{
    ARRAY_ITEMS_MAX, CALL_DEPTH_MAX, EXPRESSION_DEPTH_MAX, FUNCTION_EXPRESSION_DEPTH_MAX,
    FUNCTIONS_MAX, MAP_KEYS_MAX, OPERATIONS_MAX, SOURCE_BYTES_MAX, STRING_BYTES_MAX, VARIABLES_MAX,
    budget, bytes, text,
};

/// Words of the language that scripts have no use for. Pointers to functions are among them, and
/// `this`: what they carry is not counted by any bound.
const WORDS_REFUSED: [&str; 10] =
    ["eval", "Fn", "call", "curry", "print", "debug", "import", "export", "is_shared", "this"];

/// Compiles a source that sees the variables of `scope`.
pub(crate) fn compile(source: &str, scope: &Scope<'_>) -> Result<AST, ScriptError> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(ScriptError::limit("the script", SOURCE_BYTES_MAX as u64, "bytes"));
    }
    budget::begin_to_compile(source);
    caught(|| engine().compile_with_scope(scope, source))?.map_err(|error| of_source(&error))
}

/// Runs a compiled script to its end or a bound.
pub(crate) fn run(ast: &AST, scope: &mut Scope<'_>) -> Result<Dynamic, ScriptError> {
    budget::begin();
    caught(|| engine().eval_ast_with_scope::<Dynamic>(scope, ast))?.map_err(|error| of_run(*error))
}

/// A fault of the engine's is one of the script: a payload that meets it is refused, and is not
/// sent again and again.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, ScriptError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        ScriptError::new(ScriptErrorKind::Run, "the engine stopped: write the script otherwise")
    })
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(build)
}

fn build() -> Engine {
    let mut engine = Engine::new_raw();
    ArithmeticPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BasicIteratorPackage::new().register_into_engine(&mut engine);
    BasicStringPackage::new().register_into_engine(&mut engine);
    budget::register(&mut engine);
    bytes::register(&mut engine);
    text::register(&mut engine);
    for word in WORDS_REFUSED {
        engine.disable_symbol(word);
    }
    engine.set_max_operations(OPERATIONS_MAX);
    engine.set_max_call_levels(CALL_DEPTH_MAX);
    engine.set_max_expr_depths(EXPRESSION_DEPTH_MAX, FUNCTION_EXPRESSION_DEPTH_MAX);
    engine.set_max_string_size(STRING_BYTES_MAX);
    engine.set_max_array_size(ARRAY_ITEMS_MAX);
    engine.set_max_map_size(MAP_KEYS_MAX);
    engine.set_max_variables(VARIABLES_MAX);
    engine.set_max_functions(FUNCTIONS_MAX);
    // No texts of one tenant's are kept for another's.
    engine.set_max_strings_interned(0);
    engine.set_strict_variables(true);
    engine.set_allow_anonymous_fn(false);
    engine
}
