// Tasks: what somebody has to do until when.
import { i18n } from '@lingui/core'
import { Button, Checkbox, TextInput } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { refreshGovernance, tasksQuery } from '../../api/governanceQueries'
import { ProblemError } from '../../api/problem'
import type { Task } from '../../api/types'
import { Allowed, useAllowed } from '../../app/Allowed'
import { platformNow } from '../../lib/now'
import { Icon } from '../../ui/icons'
import { Empty, Failure, Loading, Tag } from '../../ui/layout'
import { MoreRows, useRows } from '../../ui/MoreRows'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'
import { toast } from '../../ui/toasts'

export function Tasks() {
  const may = useAllowed()
  const query = useInfiniteQuery(tasksQuery)
  const [adding, setAdding] = useState(false)
  const items = useRows(query)
  const sorted = [...items].sort((one, other) =>
    one.state === other.state ? 0 : one.state === 'open' ? -1 : 1,
  )
  const mark = async (task: Task, done: boolean) => {
    try {
      const params = { path: { id: task.id } }
      await client.POST('/v1/tasks/{id}/done', { params, body: { done } })
      await refreshGovernance()
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  const isLate = (task: Task) =>
    task.state === 'open' &&
    task.content.due_at !== null &&
    Date.parse(task.content.due_at) < platformNow()
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Tasks')}</h2>
        <Allowed to="governance.write">
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setAdding(true)}
          >
            {i18n.t('Add a task')}
          </Button>
        </Allowed>
      </div>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && items.length === 0 && (
        <Empty icon="check" title={i18n.t('No task')}>
          {i18n.t('A task that is late is told of by mail, once.')}
        </Empty>
      )}
      <ul className="plain-list">
        {sorted.map((task) => (
          <li key={task.id}>
            <span>
              <Checkbox
                label={task.content.title}
                checked={task.state === 'done'}
                disabled={!may('governance.write')}
                onChange={(event) => void mark(task, event.currentTarget.checked)}
              />
            </span>
            <span className="dim">{task.content.owner}</span>
            {isLate(task) && <Tag tone="warn">{i18n.t('late')}</Tag>}
            {task.content.due_at !== null && <Instant at={task.content.due_at} age={false} />}
          </li>
        ))}
      </ul>
      <MoreRows query={query} />
      <Modal opened={adding} onClose={() => setAdding(false)} title={i18n.t('Add a task')}>
        <TaskForm
          onDone={() => {
            setAdding(false)
            void refreshGovernance()
          }}
        />
      </Modal>
    </section>
  )
}

function TaskForm({ onDone }: { onDone: () => void }) {
  const [title, setTitle] = useState('')
  const [owner, setOwner] = useState('')
  const [due, setDue] = useState('')
  const submit = async () => {
    const task = { title, owner, due_at: due === '' ? null : `${due}T00:00:00Z` }
    await body(client.POST('/v1/tasks', { body: task }))
    onDone()
  }
  return (
    <SubmitForm action={i18n.t('Save')} submit={submit}>
      <TextInput
        label={i18n.t('What has to be done')}
        required
        data-autofocus
        maxLength={200}
        value={title}
        onChange={(event) => setTitle(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Who')}
        maxLength={200}
        value={owner}
        onChange={(event) => setOwner(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Until')}
        type="date"
        value={due}
        onChange={(event) => setDue(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
