// Runs named checks one after the other, and prints the outcome of each as one line of JSON.
// None may take longer than limitSec; one call gets 60 s. With names, only those run.
export async function run(checks, limitSec = 60, names = []) {
  const results = {};
  for (const [name, check] of Object.entries(checks)) {
    if (names.length && !names.includes(name)) { continue; }
    try {
      let timer;
      const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("took too long")), limitSec * 1000); });
      await Promise.race([check(), late]);
      clearTimeout(timer);
      results[name] = "passed";
    } catch (error) {
      results[name] = String(error?.stack ?? error);
    }
  }
  process.stdout.write(`${JSON.stringify(results)}\n`, () => process.exit(0));
}
