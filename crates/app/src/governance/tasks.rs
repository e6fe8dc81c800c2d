//! Tasks: what somebody has to do until when. One that is late is told of once.

use async_recursion::async_recursion as boxed;
use serde::{Deserialize, Serialize};
use veritwin_access::{Action, Kind};
use veritwin_domain::{GovernanceId, OpContext};
use veritwin_metastore::{GovernanceKind, TenantTx};

use super::due_words::Due;
use super::{
    NAME_CHARS_MAX, NOTE_CHARS_MAX, TITLE_CHARS_MAX, Thing, check_version, page_of, resource, text,
    thing,
};
use crate::holds::words;
use crate::model::{Governed, Page, PageRequest, TaskContent};
use crate::{App, Error, Result};

const KIND: GovernanceKind = GovernanceKind::Task;

/// A task has no facts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Facts {}

type Task = Thing<TaskContent, Facts>;

fn checked(content: TaskContent) -> Result<TaskContent> {
    Ok(TaskContent {
        title: words("title", &content.title, TITLE_CHARS_MAX)?,
        text: text("text", &content.text, NOTE_CHARS_MAX)?,
        owner: text("owner", &content.owner, NAME_CHARS_MAX)?,
        ..content
    })
}

async fn check_about(tx: &TenantTx, content: &TaskContent) -> Result<()> {
    let Some(about) = content.about else { return Ok(()) };
    if crate::error::found(tx.governance_any(about).await)?.is_none() {
        return Err(Error::invalid_at("about", "there is no such thing in the workspace"));
    }
    Ok(())
}

impl App {
    /// The tenant's tasks, newest first, a page at a time.
    #[boxed]
    pub async fn list_tasks(
        &self,
        context: &OpContext,
        page: &PageRequest,
    ) -> Result<Page<Governed<TaskContent, ()>>> {
        let all = self.authorize_all(context, Action::GovernanceRead, Kind::Governance)?;
        let tx = self.0.store.read(context).await?;
        let tasks = page_of(&tx, KIND, page, |task: Task| Some(task.view(()))).await?;
        self.note(context, Action::GovernanceRead, &all, "done");
        Ok(tasks)
    }

    /// Writes a new task.
    #[boxed]
    pub async fn create_task(
        &self,
        context: &OpContext,
        content: TaskContent,
    ) -> Result<GovernanceId> {
        self.authorize_all(context, Action::GovernanceWrite, Kind::Governance)?;
        let content = checked(content)?;
        let mut task = Task::new(self, context, KIND, (content, Facts {}), "open");
        task.row.due_at = task.content.due_at;
        let tx = self.0.store.begin(context).await?;
        check_about(&tx, &task.content).await?;
        self.put_new(&tx, context, Action::GovernanceWrite, &task).await?;
        tx.commit().await?;
        Ok(task.row.id)
    }

    /// Changes a task.
    #[boxed]
    pub async fn replace_task(
        &self,
        context: &OpContext,
        id: GovernanceId,
        content: TaskContent,
        expected: Option<i64>,
    ) -> Result<()> {
        self.authorize(context, Action::GovernanceWrite, &resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut task: Task = thing(&tx, KIND, id).await?;
        check_version(task.row.version, expected)?;
        let content = checked(content)?;
        check_about(&tx, &content).await?;
        let before = task.value();
        task.content = content;
        task.row.due_at = task.content.due_at.filter(|_| task.row.state == "open");
        self.put_changed(&tx, context, (Action::GovernanceWrite, "written"), (before, &mut task))
            .await?;
        Ok(tx.commit().await?)
    }

    /// Says that a task is done, or that it is not after all.
    #[boxed]
    pub async fn mark_task(
        &self,
        context: &OpContext,
        id: GovernanceId,
        is_done: bool,
    ) -> Result<()> {
        self.authorize(context, Action::GovernanceWrite, &resource(context, id))?;
        let tx = self.0.store.begin(context).await?;
        let mut task: Task = thing(&tx, KIND, id).await?;
        let before = task.value();
        let (state, word) = if is_done { ("done", "done") } else { ("open", "opened_again") };
        if task.row.state == state {
            return Ok(());
        }
        task.row.state = state.to_owned();
        task.row.due_at = task.content.due_at.filter(|at| !is_done && *at > context.at);
        self.put_changed(&tx, context, (Action::GovernanceWrite, word), (before, &mut task))
            .await?;
        Ok(tx.commit().await?)
    }

    /// A task is late.
    pub(super) async fn task_is_due(
        &self,
        tx: &TenantTx,
        context: &OpContext,
        id: GovernanceId,
    ) -> Result<Option<Due>> {
        let mut task: Task = thing(tx, KIND, id).await?;
        let before = task.value();
        task.row.due_at = None;
        self.put_changed(tx, context, (Action::GovernanceWrite, "late"), (before, &mut task))
            .await?;
        Ok(Some(Due::TaskLate))
    }
}
