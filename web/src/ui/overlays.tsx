// Dialogs and sheets with a named close button.
import { i18n } from '@lingui/core'
import {
  Drawer as MantineDrawer,
  Modal as MantineModal,
  type DrawerProps,
  type ModalProps,
} from '@mantine/core'

export function Modal(props: ModalProps) {
  return <MantineModal closeButtonProps={{ 'aria-label': i18n.t('Close') }} {...props} />
}

export function Drawer(props: DrawerProps) {
  return <MantineDrawer closeButtonProps={{ 'aria-label': i18n.t('Close') }} {...props} />
}
