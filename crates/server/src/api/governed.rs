//! How the governance workspace's things stand on the wire: the members of their contents, which
//! are the same in requests and answers, and what an answer says besides.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use veritwin_domain::{GovernanceId, Timestamp};

use super::{Problem, body};

/// A member of a content, as it is written on the wire.
pub(super) trait Wire<T>: Sized {
    /// Out of a request.
    fn take(self, field: &'static str) -> Result<T, Problem>;
    /// Into an answer.
    fn give(value: T) -> Self;
}

macro_rules! as_it_is {
    ($($name:ty)+) => {$(
        impl Wire<$name> for $name {
            fn take(self, _: &'static str) -> Result<$name, Problem> {
                Ok(self)
            }
            fn give(value: $name) -> Self {
                value
            }
        }
    )+};
}
as_it_is! { String bool u64 Option<u64> Option<String> Vec<String> }

impl Wire<Option<Timestamp>> for Option<String> {
    fn take(self, field: &'static str) -> Result<Option<Timestamp>, Problem> {
        self.map(|text| body::parse_time(field, &text)).transpose()
    }

    fn give(value: Option<Timestamp>) -> Self {
        value.map(body::time)
    }
}

impl Wire<Option<GovernanceId>> for Option<String> {
    fn take(self, field: &'static str) -> Result<Option<GovernanceId>, Problem> {
        self.map(|text| body::id_at(field, &text)).transpose()
    }

    fn give(value: Option<GovernanceId>) -> Self {
        value.map(|id| id.to_string())
    }
}

impl Wire<Vec<GovernanceId>> for Vec<String> {
    fn take(self, field: &'static str) -> Result<Vec<GovernanceId>, Problem> {
        self.iter().map(|text| body::id_at(field, text)).collect()
    }

    fn give(value: Vec<GovernanceId>) -> Self {
        value.iter().map(ToString::to_string).collect()
    }
}

/// The members of a content, with the way in and out.
macro_rules! fields {
    ($(#[$doc:meta])* $fields:ident of $content:ident {
        $($(#[$about:meta])* $name:ident: $wire:ty,)+
    }) => {
        $(#[$doc])*
        #[derive(Default, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
        #[serde(default)]
        struct $fields { $($(#[$about])* $name: $wire,)+ }

        impl $fields {
            fn parse(self) -> Result<$content, $crate::api::Problem> {
                Ok($content {
                    $($name: $crate::api::governed::Wire::take(self.$name, stringify!($name))?,)+
                })
            }
        }

        impl From<$content> for $fields {
            fn from(content: $content) -> Self {
                Self { $($name: $crate::api::governed::Wire::give(content.$name),)+ }
            }
        }
    };
}
pub(super) use fields;

/// A thing in an answer: what every one has, its content, its facts.
macro_rules! governed {
    ($(#[$doc:meta])* $body:ident of $content:ident as $fields:ident
        with $facts:ty as $facts_body:ty) => {
        $(#[$doc])*
        #[derive(serde::Serialize, utoipa::ToSchema)]
        struct $body {
            id: String,
            state: String,
            /// Counts changes: the entity tag for `If-Match`.
            version: u64,
            created_at: String,
            updated_at: String,
            /// When somebody is told next.
            due_at: Option<String>,
            content: $fields,
            facts: $facts_body,
        }

        impl From<veritwin_app::model::Governed<$content, $facts>> for $body {
            fn from(view: veritwin_app::model::Governed<$content, $facts>) -> Self {
                Self {
                    id: view.id.to_string(),
                    state: view.state,
                    version: view.version,
                    created_at: $crate::api::body::time(view.created_at),
                    updated_at: $crate::api::body::time(view.updated_at),
                    due_at: view.due_at.map($crate::api::body::time),
                    content: view.content.into(),
                    facts: view.facts.into(),
                }
            }
        }
    };
}
pub(super) use governed;

/// A thing has nothing more to say.
#[derive(Serialize, ToSchema)]
pub(super) struct NoFactsBody {}

impl From<()> for NoFactsBody {
    fn from((): ()) -> Self {
        Self {}
    }
}

/// A text about something.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct WhyBody {
    pub(super) text: String,
}
