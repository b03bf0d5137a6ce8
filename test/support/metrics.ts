/** Reads the metrics of a running proxy. */

/** The value of each series, by its name and labels, without the prefix of the proxy. */
export async function scrapeMetrics(adminPort: number | undefined): Promise<Record<string, number>> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
  const lines = text.split('\n').filter(line => line !== '' && !line.startsWith('#'))
  return Object.fromEntries(
    lines.map(line => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at).replace('mongo_iam_proxy_', ''), Number(line.slice(at + 1))]
    }),
  )
}
