// Commands that the pages offer for copying: they run as they stand.

/** Exports the tenant's log and verifies the copy. */
export function exportAndVerify(tenantId: string, vkey: string): string {
  return [
    `veritwin ledger export ./ledger --tenant ${tenantId}`,
    `veritwin ledger verify ./ledger --vkey '${vkey}'`,
  ].join('\n')
}
