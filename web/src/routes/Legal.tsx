// The published texts, for anybody: a sentence is what the reviewed text says, a list comes from a
// register. English is in force; the others help to read it.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useParams } from '@tanstack/react-router'
import { Fragment, type ReactNode } from 'react'

import {
  DOCUMENTS,
  legalQuery,
  type LegalDocument,
  type LegalText,
  type Purpose,
} from '../api/privacyQueries'
import { useAppSearch } from '../app/search'
import { Failure, Loading } from '../ui/layout'
import { Instant } from '../ui/time'
import { Door } from './Door'
import { basisLabel } from './privacyWords'

const LINK = /\[([^\]]+)\]\(\/legal\/([a-z-]+)\)/g

/** A sentence with its links. */
export function Words(props: { text: string }) {
  const parts: ReactNode[] = []
  let end = 0
  for (const match of props.text.matchAll(LINK)) {
    const [whole, words, document] = match
    parts.push(props.text.slice(end, match.index))
    parts.push(
      <Link key={match.index} to="/legal/$document" params={{ document: document ?? 'privacy' }}>
        {words}
      </Link>,
    )
    end = match.index + whole.length
  }
  parts.push(props.text.slice(end))
  return <>{parts.map((part, at) => <Fragment key={at}>{part}</Fragment>)}</>
}

export function LegalPage() {
  const { document } = useParams({ strict: false })
  const { organisation } = useAppSearch()
  const known = DOCUMENTS.find((one) => one === document) ?? 'privacy'
  const text = useQuery(legalQuery(known, i18n.locale, organisation))
  const [first] = text.data?.blocks ?? []
  const title = first?.sentences[0]?.text ?? i18n.t('Privacy policy')
  return (
    <Door title={title}>
      {text.isPending && <Loading rows={8} />}
      {text.isError && <Failure error={text.error} compact />}
      {text.data && <Text text={text.data} />}
    </Door>
  )
}

function Text(props: { text: LegalText }) {
  const { text } = props
  return (
    <article className="legal" lang={text.language}>
      {text.announcement && (
        <p className="notice" role="status">
          {i18n.t('A new version takes effect on')} <Instant at={text.announcement.effective_at} />:{' '}
          {text.announcement.summary}
        </p>
      )}
      {text.blocks.slice(1).map((block, at) => (
        <LegalBlock key={at} block={block} text={text} />
      ))}
      <p className="dim">
        {i18n.t('Version {version}, in force since', { version: text.version })}{' '}
        <Instant at={text.effective_at} />
      </p>
    </article>
  )
}

function LegalBlock(props: { block: LegalText['blocks'][number]; text: LegalText }) {
  const { block, text } = props
  const words = block.sentences.map((sentence, at) => (
    <Fragment key={at}>
      <Words text={sentence.text} />{' '}
    </Fragment>
  ))
  switch (block.kind) {
    case 'heading':
      return <h2>{words}</h2>
    case 'item':
      return (
        <ul>
          <li>{words}</li>
        </ul>
      )
    case 'sub_processors':
      return <SubProcessors text={text} />
    case 'processor_purposes':
      return <Purposes purposes={text.purposes.filter((one) => one.role === 'processor')} />
    case 'controller_purposes':
      return <Purposes purposes={text.purposes.filter((one) => one.role === 'controller')} />
    default:
      return <p>{words}</p>
  }
}

function SubProcessors(props: { text: LegalText }) {
  const all = props.text.sub_processors
  if (all.length === 0) return <p>{i18n.t('This installation uses no sub-processor.')}</p>
  return (
    <ul>
      {all.map((one) => (
        <li key={one.name}>
          <strong>{one.name}</strong>: {one.purpose}, {one.country}, {one.agreement}
        </li>
      ))}
    </ul>
  )
}

function Purposes(props: { purposes: Purpose[] }) {
  return (
    <ul>
      {props.purposes.map((one) => (
        <li key={one.id}>
          <strong>{one.title}</strong> ({basisLabel(one.basis)}): {one.text}
        </li>
      ))}
    </ul>
  )
}

/** Links to the texts, at the foot of every page before sign-in. */
export function LegalLinks() {
  const { organisation } = useAppSearch()
  const links: [LegalDocument, string][] = [
    ['privacy', i18n.t('Privacy policy')],
    ['terms', i18n.t('Terms')],
    ['cookies', i18n.t('Cookies')],
  ]
  return (
    <nav aria-label={i18n.t('Legal texts')} className="door-legal">
      {links.map(([document, label]) => (
        <Link key={document} to="/legal/$document" params={{ document }} search={{ organisation }}>
          {label}
        </Link>
      ))}
      <Link to="/requests" search={{ organisation }}>
        {i18n.t('Your rights')}
      </Link>
    </nav>
  )
}
