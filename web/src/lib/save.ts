// Saves what the platform answered as a file of the person's own.

export function save(name: string, content: Blob): void {
  const link = document.createElement('a')
  const url = URL.createObjectURL(content)
  link.href = url
  link.download = name
  link.click()
  URL.revokeObjectURL(url)
}
