// The frame of the pages before sign-in.
import { i18n } from '@lingui/core'
import { useEffect, type ReactNode } from 'react'

import { title } from '../lib/product'
import { LanguageSelect } from './LanguageSelect'
import { Answering, BrandMark, useProduct } from './partners/Face'

export function Door(props: { title: string; lead?: ReactNode; children: ReactNode }) {
  const product = useProduct()
  useEffect(() => {
    document.title = title(props.title)
  }, [props.title])
  return (
    <main className="door" id="main">
      <div className="door-card">
        <div className="door-brand">
          <BrandMark size={40} />
          <span>{product}</span>
        </div>
        <h1>{props.title}</h1>
        {props.lead && <p className="lead">{props.lead}</p>}
        {props.children}
      </div>
      <footer className="door-foot">
        <Answering />
        <div className="door-words">
          <p>{i18n.t('A building that reports, is watched, and can be proven.')}</p>
          <LanguageSelect />
        </div>
      </footer>
    </main>
  )
}
