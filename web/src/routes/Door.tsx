// The frame of the pages before sign-in.
import { i18n } from '@lingui/core'
import { useEffect, type ReactNode } from 'react'

import { Logo } from '../ui/icons'
import { LanguageSelect } from './LanguageSelect'

export function Door(props: { title: string; lead?: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${props.title} · Veritwin`
  }, [props.title])
  return (
    <main className="door" id="main">
      <div className="door-card">
        <div className="door-brand">
          <Logo size={40} />
          <span>Veritwin</span>
        </div>
        <h1>{props.title}</h1>
        {props.lead && <p className="lead">{props.lead}</p>}
        {props.children}
      </div>
      <footer className="door-foot">
        <p>{i18n.t('A building that reports, is watched, and can be proven.')}</p>
        <LanguageSelect />
      </footer>
    </main>
  )
}
