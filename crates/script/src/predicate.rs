//! Conditions: whether something holds of a message.

use std::fmt;

use rhai::{AST, Map, Scope};

use crate::convert::from_scalar;
use crate::engine::{compile, run};
use crate::{Scalar, ScriptError};

/// What a condition is asked about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inputs<'a> {
    /// The topic: `topic` in the script; empty if there is none.
    pub topic: &'a str,
    /// The device's name: `device`.
    pub device: &'a str,
    /// What kind of device it is: `device_type`.
    pub device_type: &'a str,
    /// When, in milliseconds since 1970: `ts`.
    pub ts: i64,
    /// The values by key: the map `values`.
    pub values: &'a [(String, Scalar)],
    /// The device's attributes by key: the map `attributes`.
    pub attributes: &'a [(String, Scalar)],
}

/// A compiled condition. It can be asked by many threads at once.
pub struct Predicate {
    ast: AST,
}

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

impl Predicate {
    /// Compiles a script whose last expression is true or false.
    pub fn compile(source: &str) -> Result<Self, ScriptError> {
        let scope = scope(&Inputs::default());
        compile(source, &scope).map(|ast| Self { ast })
    }

    /// Whether it holds.
    pub fn holds(&self, inputs: &Inputs<'_>) -> Result<bool, ScriptError> {
        let mut scope = scope(inputs);
        run(&self.ast, &mut scope)?
            .as_bool()
            .map_err(|_| ScriptError::result("the result is no answer: expected true or false"))
    }
}

fn scope(inputs: &Inputs<'_>) -> Scope<'static> {
    let mut scope = Scope::new();
    scope.push("topic", inputs.topic.to_owned());
    scope.push("device", inputs.device.to_owned());
    scope.push("device_type", inputs.device_type.to_owned());
    scope.push("ts", inputs.ts);
    scope.push("values", map_of(inputs.values));
    scope.push("attributes", map_of(inputs.attributes));
    scope
}

fn map_of(values: &[(String, Scalar)]) -> Map {
    values.iter().map(|(key, value)| (key.as_str().into(), from_scalar(value))).collect()
}
