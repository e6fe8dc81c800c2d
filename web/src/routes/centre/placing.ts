// Binding a device to a place in the building, with an undo that restores the former binding.
import { i18n } from '@lingui/core'

import { body, client } from '../../api/client'
import { ProblemError } from '../../api/problem'
import { queryClient } from '../../api/queries'
import type { Device } from '../../api/types'
import type { Place } from '../../scene/SceneView'
import { toast } from '../../ui/toasts'

type Binding = Pick<Device, 'space_id' | 'element_id' | 'position'>

async function bind(twinId: string, deviceId: string, binding: Binding): Promise<void> {
  const path = { id: twinId, device: deviceId }
  const { space_id, element_id, position } = binding
  if (space_id === null && element_id === null && position === null) {
    await client.DELETE('/v1/twins/{id}/bindings/{device}', { params: { path } })
  } else {
    await body(
      client.PUT('/v1/twins/{id}/bindings/{device}', {
        params: { path },
        body: {
          ...(space_id !== null && { space_id }),
          ...(element_id !== null && { element_id }),
          ...(position !== null && { position }),
        },
      }),
    )
  }
  await queryClient.invalidateQueries({ queryKey: ['devices'] })
}

export async function placeDevice(twinId: string, device: Device, place: Place): Promise<void> {
  try {
    await bind(twinId, device.id, {
      space_id: place.spaceId,
      element_id: null,
      position: place.position,
    })
    toast(i18n.t('{device} was placed.', { device: device.name }), {
      label: i18n.t('Undo'),
      run: () => void bind(twinId, device.id, device),
    })
  } catch (error) {
    toast(ProblemError.of(error).message)
  }
}
