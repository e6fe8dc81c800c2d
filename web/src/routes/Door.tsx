// The frame of the pages before sign-in, with the face of the host name, or of the organisation
// whose own sign-in page it is.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'
import { useEffect, useLayoutEffect, type ReactNode } from 'react'

import { useAppSearch } from '../app/search'
import { title } from '../lib/product'
import { LanguageSelect } from './LanguageSelect'
import { LegalLinks } from './Legal'
import { Answering, BrandMark, PRODUCT } from './partners/Face'
import { faceAtQuery } from './partners/queries'

const THEME = '/theme.css'

/** The colours of the organisation while its door is shown, instead of the host name's. */
function useColours(organisation: string | undefined) {
  useLayoutEffect(() => {
    const sheet = document.querySelector<HTMLLinkElement>(`link[href^="${THEME}"]`)
    if (sheet === null) return
    const show = (href: string) => {
      if (sheet.getAttribute('href') !== href) sheet.setAttribute('href', href)
    }
    const query = new URLSearchParams({ ...(organisation && { organisation }) })
    show(organisation ? `${THEME}?${query}` : THEME)
    return () => show(THEME)
  }, [organisation])
}

export function Door(props: { title: string; lead?: ReactNode; children: ReactNode }) {
  const { organisation } = useAppSearch()
  const face = useQuery(faceAtQuery(organisation)).data
  useColours(organisation)
  const name = face?.organisation?.name
  useEffect(() => {
    document.title = title(props.title)
  }, [props.title])
  return (
    <main className="door" id="main">
      <div className="door-card">
        <div className="door-brand">
          <BrandMark size={40} organisation={organisation} />
          <span>{face?.product ?? PRODUCT}</span>
        </div>
        <h1>{props.title}</h1>
        {name !== undefined && <p className="door-organisation">{name}</p>}
        {props.lead && <p className="lead">{props.lead}</p>}
        {props.children}
      </div>
      <footer className="door-foot">
        <Answering organisation={organisation} />
        <LegalLinks />
        <div className="door-words">
          <p>{i18n.t('A building that reports, is watched, and can be proven.')}</p>
          <LanguageSelect />
        </div>
      </footer>
    </main>
  )
}
