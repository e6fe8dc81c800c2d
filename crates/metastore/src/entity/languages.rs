//! In which language somebody is written to; none of people who never chose one.

use async_recursion::async_recursion as boxed;
use veritwin_domain::UserId;

use super::users::TABLE;
use crate::bind::stored_enum;
use crate::{PlatformTx, Result, TenantTx};

stored_enum! {
    /// A language of the product.
    UserLanguage {
        /// English.
        English = "en",
        /// Chinese in traditional characters.
        ChineseTraditional = "zh-Hant",
        /// Japanese.
        Japanese = "ja",
        /// Korean.
        Korean = "ko",
    }
}

impl PlatformTx {
    /// The language that somebody chose.
    #[boxed]
    pub async fn user_language(&self, id: UserId) -> Result<Option<UserLanguage>> {
        self.core.one(self.select(TABLE).eq("id", id)).await?.maybe("language")
    }

    /// Notes the language that somebody chose.
    #[boxed]
    pub async fn user_language_set(&self, id: UserId, language: UserLanguage) -> Result<()> {
        let update = self.update(TABLE).set("language", language).eq("id", id);
        self.core.update(update).await.map(drop)
    }
}

impl TenantTx {
    /// The language that one of the tenant's people chose.
    #[boxed]
    pub async fn member_language(&self, id: UserId) -> Result<Option<UserLanguage>> {
        self.core.one(self.select(TABLE).eq("id", id)).await?.maybe("language")
    }
}
