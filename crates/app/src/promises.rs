//! stub
use crate::{App, Result, model::PromiseView};
pub struct ProbeAnswer;
pub trait PlatformProbe {}
pub(crate) struct PromiseBoard;
impl PromiseBoard { pub(crate) fn new() -> Result<Self> { Ok(Self) } }
impl App { pub(crate) fn start_promises(&self) {}
 pub async fn list_promises(&self, _c: &veritwin_domain::OpContext) -> Result<Vec<PromiseView>> { Ok(vec![]) } 
 pub async fn check_promise(&self, _c: &veritwin_domain::OpContext, _id: &str) -> Result<PromiseView> { Err(crate::Error::NotFound("x")) } }
