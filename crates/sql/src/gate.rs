//! Which plans are carried out: a list of nodes, operators and functions, of which a plan has no
//! other. A plan that is not understood is refused, so that a new version of DataFusion opens
//! nothing.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

use crate::error::{Error, within};

/// Most columns of an answer.
const COLUMNS_MAX: usize = 100;
/// Most parts of an expression once every name in it is written out as what it stands for: a
/// condition is, where it is moved to what rows are read from.
const PARTS_MAX: usize = 20_000;
/// Most groupings of the same rows: what a batch makes in all of them is there before it is
/// counted.
const GROUPINGS_MAX: usize = 32;

/// Functions of values. None of them makes texts out of others that are longer, reads the host, or
/// makes rows; `now` is the platform's clock.
pub(crate) const SCALARS: [&str; 69] = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "btrim",
    "cbrt",
    "ceil",
    "character_length",
    "coalesce",
    "contains",
    "cos",
    "cosh",
    "cot",
    "date_bin",
    "date_part",
    "date_trunc",
    "degrees",
    "ends_with",
    "exp",
    "floor",
    "from_unixtime",
    "gcd",
    "greatest",
    "isnan",
    "iszero",
    "lcm",
    "least",
    "left",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "nanvl",
    "now",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "pi",
    "power",
    "radians",
    "reverse",
    "right",
    "round",
    "rtrim",
    "signum",
    "sin",
    "sinh",
    "split_part",
    "sqrt",
    "starts_with",
    "strpos",
    "substr",
    "tan",
    "tanh",
    "to_date",
    "to_timestamp",
    "to_timestamp_micros",
    "to_timestamp_millis",
    "to_timestamp_seconds",
    "to_unixtime",
    "trunc",
    "upper",
];

/// Functions of many rows. None of them gathers texts into one.
pub(crate) const AGGREGATES: [&str; 22] = [
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "avg",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "last_value",
    "max",
    "median",
    "min",
    "percentile_cont",
    "regr_r2",
    "regr_slope",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
];

/// Functions of neighbouring rows, besides aggregates.
pub(crate) const WINDOWS: [&str; 11] = [
    "cume_dist",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "nth_value",
    "ntile",
    "percent_rank",
    "rank",
    "row_number",
];

/// What is known of a plan that may be carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// How many values windows make of each row: they hold all rows that they are given.
    pub(crate) windows: usize,
    /// How many of these are as long as what they are made of.
    pub(crate) text_windows: usize,
    /// A row may stand in many rows of what is made.
    pub(crate) has_join: bool,
}

/// Looks at every part of a plan.
pub(crate) fn check(plan: &LogicalPlan) -> Result<Shape, Error> {
    within("sql_columns_max", COLUMNS_MAX, plan.schema().fields().len())?;
    let mut shape = Shape::default();
    let mut refused = None;
    let looked = plan.apply_with_subqueries(|node| {
        refused = look(node, &mut shape)?;
        Ok(if refused.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    if looked.is_err() {
        return Err(Error::Internal("its plan cannot be looked at"));
    }
    if refused.is_none() && shape.windows > 0 && shape.has_join {
        refused = Some("window functions do not go with joins".to_owned());
    }
    if let Some(detail) = refused {
        return Err(Error::invalid(detail));
    }
    parts(plan)?;
    Ok(shape)
}

/// Of how many parts a column of a plan is, written out. Refused where an expression is of more
/// than there may be.
fn parts(plan: &LogicalPlan) -> Result<usize, Error> {
    let unseen = |_: DataFusionError| Error::Internal("its plan cannot be looked at");
    let mut below = 1usize;
    for input in plan.inputs() {
        below = below.max(parts(input)?);
    }
    let mut inside = Ok(1usize);
    let looked = plan.apply_subqueries(|asked| {
        inside = parts(asked);
        Ok(if inside.is_ok() { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    looked.map_err(unseen)?;
    below = below.max(inside?);
    let mut most = 1usize;
    let looked = plan.apply_expressions(|expression| {
        let mut own = 0usize;
        let looked = expression.apply(|part| {
            own = own.saturating_add(if matches!(part, Expr::Column(_)) { below } else { 1 });
            Ok(TreeNodeRecursion::Continue)
        });
        most = most.max(own);
        looked
    });
    looked.map_err(unseen)?;
    within("sql_parts_max", PARTS_MAX, most)?;
    Ok(match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) => most,
        LogicalPlan::Window(_) => below.max(most),
        _ => below,
    })
}

/// Whether values of a type have no size of their own.
fn has_length(kind: &DataType) -> bool {
    !kind.is_primitive() && !matches!(kind, DataType::Boolean | DataType::Null)
}

/// What is refused in a node, if anything is.
fn look(node: &LogicalPlan, shape: &mut Shape) -> Result<Option<String>, DataFusionError> {
    match node {
        LogicalPlan::Window(window) => {
            let windows = window.window_expr.len();
            let made = window.schema.fields().iter().rev().take(windows);
            shape.windows += windows;
            shape.text_windows += made.filter(|field| has_length(field.data_type())).count();
        }
        // A question inside another is joined to it.
        LogicalPlan::Join(_) | LogicalPlan::Subquery(_) => shape.has_join = true,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Distinct(_) => {}
        _ => return Ok(Some("a part of this statement is not carried out here".to_owned())),
    }
    let mut refused = None;
    node.apply_expressions(|expression| {
        expression.apply(|part| {
            refused = refuse(part);
            let goes_on = refused.is_none();
            Ok(if goes_on { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        })
    })?;
    Ok(refused)
}

fn refuse(part: &Expr) -> Option<String> {
    let unknown = |kind: &str, name: &str| {
        // The name was found in a statement, so it is one of DataFusion's own.
        Some(format!("the {kind} {name} is not offered here"))
    };
    match part {
        Expr::BinaryExpr(binary) if !is_offered(binary.op) => {
            unknown("operator", &binary.op.to_string())
        }
        Expr::ScalarFunction(call) if !SCALARS.contains(&call.func.name()) => {
            unknown("function", call.func.name())
        }
        Expr::AggregateFunction(call) if !AGGREGATES.contains(&call.func.name()) => {
            unknown("function", call.func.name())
        }
        Expr::WindowFunction(call) => {
            let name = call.fun.name();
            let is_known = WINDOWS.contains(&name) || AGGREGATES.contains(&name);
            if is_known { None } else { unknown("function", name) }
        }
        Expr::GroupingSet(set) if groupings(set) > GROUPINGS_MAX => {
            Some(format!("the same rows are grouped in at most {GROUPINGS_MAX} ways"))
        }
        Expr::Placeholder(_) => Some("parameters are not offered: write the value".to_owned()),
        Expr::Alias(_)
        | Expr::Column(_)
        | Expr::OuterReferenceColumn(..)
        | Expr::Literal(..)
        | Expr::BinaryExpr(_)
        | Expr::Like(_)
        | Expr::Not(_)
        | Expr::IsNotNull(_)
        | Expr::IsNull(_)
        | Expr::IsTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotTrue(_)
        | Expr::IsNotFalse(_)
        | Expr::IsNotUnknown(_)
        | Expr::Negative(_)
        | Expr::Between(_)
        | Expr::Case(_)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::InList(_)
        | Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::ScalarSubquery(_)
        | Expr::GroupingSet(_)
        | Expr::ScalarFunction(_)
        | Expr::AggregateFunction(_) => None,
        _ => Some("a part of an expression is not carried out here".to_owned()),
    }
}

/// In how many ways the same rows are grouped.
fn groupings(set: &GroupingSet) -> usize {
    match set {
        GroupingSet::Rollup(names) => names.len().saturating_add(1),
        GroupingSet::GroupingSets(sets) => sets.len(),
        GroupingSet::Cube(_) => usize::MAX,
    }
}

const fn is_offered(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::Plus
            | Operator::Minus
            | Operator::Multiply
            | Operator::Divide
            | Operator::Modulo
            | Operator::And
            | Operator::Or
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}
