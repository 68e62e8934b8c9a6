// Positives, map and calibration of trained networks, computed in the page. The charts are those of the panels.

(() => {
    const {classes, labels, faults, stills, kinds, spaces, defaults, runs, good, opening, ...styles} = window.avidRuns
    const COUNT = labels.length, FINE = 2000, SHOWN = 80, SHELF = 6, SPAN_MS = 900
    const [OTHER, MISSED, RIGHT, WRONG, FAULTY, QUERY] = kinds.keys()
    const find = selector => document.querySelector(selector)
    const mark = (type, given) => ({...defaults[type], ...given})
    const percent = share => `${Math.round(100 * share)} %`
    const digits = value => value.toFixed(2).replace("-", "−")

    // Embeddings

    /** Bytes of a base64 text. */
    const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0))

    /** Unit rows from eight bits: an array of Float32Array. */
    function rows(text) {
        const all = new Int8Array(bytes(text).buffer), size = all.length / COUNT
        return [...Array(COUNT).keys()].map(i => {
            const row = Float32Array.from(all.subarray(i * size, (i + 1) * size)), length = Math.hypot(...row)
            return row.map(value => value / length)
        })
    }

    const kept = new Map()
    /** The value of a function without arguments, computed once for each name. */
    function once(name, compute) {
        if (!kept.has(name)) kept.set(name, compute())
        return kept.get(name)
    }
    const space = (run, moment, side) =>
        once(`rows ${run} ${moment} ${side}`, () => rows(runs[run].snapshots[moment][side]))
    const last = run => runs[run].snapshots.length - 1
    const dot = (a, b) => {
        let sum = 0
        for (let i = 0; i < a.length; i++) sum += a[i] * b[i]
        return sum
    }

    // Positives

    const RULES = {
        consensus: {
            combine: Math.min, formula: "min(video, audio)",
            edge: (t, [, r, b, h]) => [[t, h], [t, t], [r, t]], beyond: (t, [, r, , h]) => [[r, h]],
        },
        union: {
            combine: Math.max, formula: "max(video, audio)",
            edge: (t, [l, , b]) => [[l, t], [t, t], [t, b]], beyond: (t, [l, r, b, h]) => [[r, b], [r, h], [l, h]],
        },
        video: {combine: v => v, formula: "video", edge: (t, [, , b, h]) => [[t, h], [t, b]], beyond: (t, [, r, b, h]) => [[r, b], [r, h]]},
        audio: {combine: (v, a) => a, formula: "audio", edge: (t, [l, r]) => [[l, t], [r, t]], beyond: (t, [l, r, , h]) => [[r, h], [l, h]]},
    }

    /** All other clips for a query by each rule, best first, and their scores; ties go to the lower number. */
    function rank(run, query) {
        const [seen, heard] = ["video", "audio"].map(side => {
            const all = space(run, last(run), side)
            return all.map(row => dot(row, all[query]))
        })
        const others = [...Array(COUNT).keys()].filter(i => i !== query), order = {}, score = {}
        for (const [name, {combine}] of Object.entries(RULES)) {
            score[name] = seen.map((value, i) => combine(value, heard[i]))
            order[name] = [...others].sort((i, j) => score[name][j] - score[name][i] || i - j)
        }
        return {seen, heard, order, score}
    }
    const share = (found, query) => found.filter(i => labels[i] === labels[query]).length / found.length

    // Map

    /** Rows on their two principal directions, by orthogonal iteration. */
    function plane(all) {
        const size = all[0].length, mean = Array(size).fill(0), spread = [...Array(size)].map(() => new Float64Array(size))
        for (const row of all) row.forEach((value, i) => { mean[i] += value / COUNT })
        const centred = all.map(row => Float64Array.from(row, (value, i) => value - mean[i]))
        for (const row of centred) for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) spread[i][j] += row[i] * row[j]
        let first = new Float64Array(size).map((_, i) => Math.sin(i + 1)), second = first.map((_, i) => Math.cos(3 * i))
        const unit = v => { const length = Math.hypot(...v) || 1; return v.map(value => value / length) }
        for (let i = 0; i < 200; i++) {
            [first, second] = [first, second].map(v => new Float64Array(size).map((_, j) => dot(spread[j], v)))
            first = unit(first)
            const overlap = dot(first, second)
            second = unit(second.map((value, j) => value - overlap * first[j]))
        }
        return centred.map(row => [dot(row, first), dot(row, second)])
    }

    /** Points turned or mirrored to lie as close to others as possible. */
    function aligned(points, target) {
        let [a, b, c, d] = [0, 0, 0, 0]
        points.forEach(([x, y], i) => {
            const [u, v] = target[i]
            a += x * u; b += x * v; c += y * u; d += y * v
        })
        if (Math.hypot(a + d, b - c) >= Math.hypot(a - d, b + c)) {
            const angle = Math.atan2(b - c, a + d), [cos, sin] = [Math.cos(angle), Math.sin(angle)]
            return points.map(([x, y]) => [x * cos - y * sin, x * sin + y * cos])
        }
        const angle = Math.atan2(b + c, a - d), [cos, sin] = [Math.cos(angle), Math.sin(angle)]
        return points.map(([x, y]) => [x * cos + y * sin, x * sin - y * cos])
    }

    /** Both maps of a moment; earlier moments resemble later ones, and sounds resemble pictures. */
    const maps = (run, moment) => once(`map ${run} ${moment}`, () => {
        const own = {video: plane(space(run, moment, "video")), audio: plane(space(run, moment, "audio"))}
        if (moment === last(run)) return {...own, audio: aligned(own.audio, own.video)}
        const next = maps(run, moment + 1)
        return {video: aligned(own.video, next.video), audio: aligned(own.audio, next.audio)}
    })

    // Calibration

    /** Shares of same-class and of different-class pairs in fine bins over [-1, 1], and how far apart they are. */
    const pairs = (run, [name, left, right]) => once(`pairs ${run} ${name}`, () => {
        const [a, b] = [left, right].map(side => space(run, last(run), side))
        const same = new Float64Array(FINE), different = new Float64Array(FINE)
        for (let i = 0; i < COUNT; i++) for (let j = 0; j < COUNT; j++) {
            if (i === j) continue
            const bin = Math.min(FINE - 1, Math.max(0, Math.floor((dot(a[i], b[j]) + 1) / 2 * FINE)))
            ;(labels[i] === labels[j] ? same : different)[bin]++
        }
        const sum = counts => counts.reduce((x, y) => x + y, 0), [on, off] = [sum(same), sum(different)]
        let below = 0, auc = 0
        const on1 = same.map(count => count / on), off1 = different.map(count => count / off)
        on1.forEach((value, i) => { auc += value * (below + off1[i] / 2); below += off1[i] })
        return {same: on1, different: off1, rate: on / (on + off), auc}
    })

    const centre = i => (i + 0.5) * 2 / FINE - 1
    const sigmoid = x => 1 / (1 + Math.exp(-Math.min(700, Math.max(-700, x))))

    /** Predicted against observed shares of same-class pairs, in ten bins; and the expected calibration error. */
    function reliability({same, different, rate}, threshold, temperature) {
        const bins = [...Array(10)].map(() => [0, 0, 0])
        for (let i = 0; i < FINE; i++) {
            const p = sigmoid((centre(i) - threshold) / temperature), on = rate * same[i], all = on + (1 - rate) * different[i]
            const bin = bins[Math.min(9, Math.floor(10 * p))]
            bin[0] += all; bin[1] += all * p; bin[2] += on
        }
        const used = bins.filter(([all]) => all > 1e-4)
        const error = bins.reduce((sum, [, predicted, on]) => sum + Math.abs(predicted - on), 0)
        return {curve: used.map(([all, predicted, on]) => [predicted / all, on / all]), error}
    }

    /** Threshold and temperature of the logistic curve that fits best, by Newton's method. */
    function fit({same, different, rate}) {
        let [slope, offset] = [1, Math.log(rate / (1 - rate))]
        for (let turn = 0; turn < 60; turn++) {
            let [g0, g1, h00, h01, h11] = [0, 0, 1e-9, 0, 1e-9]
            for (let i = 0; i < FINE; i++) {
                const x = centre(i), on = rate * same[i], all = on + (1 - rate) * different[i]
                const p = sigmoid(slope * x + offset), w = all * p * (1 - p)
                g0 += (all * p - on) * x; g1 += all * p - on
                h00 += w * x * x; h01 += w * x; h11 += w
            }
            const scale = h00 * h11 - h01 * h01 || 1e-12, step = [(h11 * g0 - h01 * g1) / scale, (h00 * g1 - h01 * g0) / scale]
            slope -= Math.max(-5, Math.min(5, step[0]))
            offset -= Math.max(-5, Math.min(5, step[1]))
        }
        const threshold = -offset / slope, temperature = 1 / slope
        if (slope > 1 && Math.abs(threshold) <= 1) return {threshold, temperature: Math.max(0.01, temperature)}
        // Similarity says little here, so the best curve is nearly flat: the farthest threshold, with its best temperature.
        const loss = temperature => {
            let sum = 0
            for (let i = 0; i < FINE; i++) {
                const z = (centre(i) - 1) / temperature, on = rate * same[i]
                sum += (on + (1 - rate) * different[i]) * Math.log1p(Math.exp(z)) - on * z
            }
            return sum
        }
        const tried = [...Array(101).keys()].map(i => 10 ** (i / 50 - 2))
        return {threshold: 1, temperature: tried.reduce((best, one) => loss(one) < loss(best) ? one : best), poor: true}
    }

    // State, controls and canvases

    const names = runs.map(run => run.name), at = name => Math.max(0, names.indexOf(name))
    const followed = runs.reduce((best, run, i) => run.snapshots.length > runs[best].snapshots.length ? i : best, 0)
    const state = {
        run: names.length - 1, query: opening, k: 16, rule: "consensus", pressed: -1, moment: last(names.length - 1),
        before: at("Cross-AVID, continued"), after: names.length - 1, threshold: 0.5, temperature: 0.1, space: 2,
    }
    for (const [name, value] of new URLSearchParams(location.hash.slice(1)))
        if (name in state) state[name] = typeof state[name] === "number" ? Number(value) || 0 : value
    if (!(state.rule in RULES)) state.rule = "consensus"
    const whole = (name, low, high) => { state[name] = Math.min(high, Math.max(low, Math.round(state[name]))) }
    for (const name of ["run", "before", "after"]) whole(name, 0, names.length - 1)
    whole("query", 0, COUNT - 1)
    whole("pressed", -1, COUNT - 1)
    whole("space", 0, 2)
    whole("moment", 0, last(state.run))
    whole("k", 1, Math.min(64, COUNT - 1))
    if (!(state.temperature > 0)) state.temperature = 0.1
    find("[name=k]").max = Math.min(64, COUNT - 1)

    /** What a canvas is told by, as widgets are by a kernel. */
    function model(traits, asked) {
        const listeners = new Map()
        return {
            get: name => traits[name],
            set(name, value) {
                if (traits[name] === value) return
                traits[name] = value
                for (const act of listeners.get(`change:${name}`) ?? []) act()
            },
            on(event, act) { listeners.set(event, [...(listeners.get(event) ?? []), act]) },
            off() {},
            save_changes() {},
            send({thumbnail}) {
                const jpeg = bytes(stills[thumbnail])
                for (const act of listeners.get("msg:custom") ?? []) act({thumbnail}, [jpeg])
            },
        }
    }
    function canvas(selector, thumbnails) {
        const traits = {guide: 0, clicked: -1, hovered: -1, selected: [], focused: -1, labels: [], _thumbnails: thumbnails}
        const own = model({...traits, _chart: {plots: [], about: "", height: 0, columns: [1], rows: [1], legend: false}})
        window.avidCanvas.render({model: own, el: find(selector)})
        return own
    }
    const axis = (low, high, label = "", ticks = "numbers", grid = true) => ({low, high, label, ticks, grid})
    const plot = given => ({title: "", legend: "", cell: [0, 0, 1], equal: false, ...given})
    const limits = (values, pad = 0.05) => {
        const [low, high] = [Math.min(...values), Math.max(...values)], room = pad * Math.max(high - low, 1e-6)
        return [low - room, high + room]
    }
    const name = i => classes[labels[i]]

    const planeCanvas = canvas("#avid-plane", true), mapCanvas = canvas("#avid-map", true), pairCanvas = canvas("#avid-pairs", false)

    function video(i, title, note, verdict, plays) {
        const sign = verdict === undefined ? "" : verdict ? "✓ " : "✗ ", kind = verdict === undefined ? "" : verdict ? "right" : "wrong"
        return `<figure class="${kind}"><video src="../_static/explore/clips/${i}.mp4" poster="data:image/jpeg;base64,${stills[i]}" `
            + `controls controlslist="nodownload noplaybackrate noremoteplayback" disablepictureinpicture loop playsinline preload="none" ${plays ? "autoplay" : ""} `
            + `aria-label="${title}"></video><figcaption><b>${sign}${title}</b><br>${note}${faults[i] ? `<br><i>${faults[i]}</i>` : ""}</figcaption></figure>`
    }

    function drawPositives(plays = false) {
        const {run, query, k, rule} = state, found = once(`rank ${run} ${query}`, () => rank(run, query))
        const positives = found.order[rule].slice(0, k), chosen = new Set(positives)
        const kind = labels.map((label, i) => {
            const same = label === labels[query]
            if (i === query) return QUERY
            if (!chosen.has(i)) return same ? MISSED : OTHER
            return faults[i] ? FAULTY : same ? RIGHT : WRONG
        })
        const view = [...limits(found.seen), ...limits(found.heard)], marks = []
        const far = [view[0] - 2, view[1] + 2, view[2] - 2, view[3] + 2]
        for (const [name, {edge, beyond, formula}] of Object.entries(RULES)) {
            const threshold = found.score[name][found.order[name][k - 1]], main = name === rule
            const line = edge(threshold, far), [x, y] = [line.map(p => p[0]), line.map(p => p[1])]
            if (main) {
                const outline = [...line, ...beyond(threshold, far)]
                marks.unshift(mark("Area", {x: outline.map(p => p[0]), y: outline.map(p => p[1]), base: null, colour: good, alpha: 0.1, width: 0}))
            }
            marks.push(mark("Line", {x, y, colour: main ? good : "muted", dash: main ? [] : [6, 4]}))
            if (main) marks.push(mark("Text", {x: 0.02, y: 0.96, words: `${formula} ≥ ${digits(threshold)}`, colour: good, across: "share", up: "share", bold: true, halo: true}))
            else {
                const [[left, level], align, up] = {
                    consensus: [[threshold, view[3]], "right", -10], union: [[threshold, view[2]], "left", 8],
                    video: [[threshold, view[2]], "right", 8], audio: [[view[0], threshold], "left", -10],
                }[name]
                const shift = [align === "left" ? 5 : -5, up]
                marks.push(mark("Text", {x: left, y: level, words: name, colour: "muted", align, shift, bold: true, halo: true}))
            }
        }
        const style = {colours: kinds.map(one => one[1]), names: kinds.map(one => one[0]), radius: 4.2, travel: true}
        const shape = kind.map(i => kinds[i][2])
        marks.push(mark("Points", {x: found.seen, y: found.heard, kind, shape, ringed: positives.slice(0, SHELF), ...style}))
        planeCanvas.set("labels", labels.map((_, i) =>
            [`${name(i)}, clip ${i}`, `look ${digits(found.seen[i])} · sound ${digits(found.heard[i])}`, faults[i]].filter(Boolean).join("\n")))
        planeCanvas.set("_chart", {
            plots: [plot({marks, x: axis(view[0], view[1], "looks alike: video similarity"), y: axis(view[2], view[3], "sounds alike: audio similarity"), legend: "below"})],
            about: `Clips by how much they look and how much they sound like clip ${query}, ${name(query)}.`, height: 440, columns: [1], rows: [1], legend: false,
        })

        const precision = Object.fromEntries(Object.keys(RULES).map(rule => [rule, share(found.order[rule].slice(0, k), query)]))
        const others = labels.filter(label => label === labels[query]).length - 1, chance = others / (COUNT - 1)
        find("#avid-precision").innerHTML = `<b>Positives of its class, ${name(query)}, among ${k}</b><table class="avid-bars">`
            + Object.entries(precision).map(([name, value]) => `<tr class="${name === rule ? "chosen" : ""}"><td>${name}</td>`
                + `<td><div class="bar"><i style="width:${100 * value}%"></i><u style="left:${100 * chance}%"></u></div></td><td>${percent(value)}</td></tr>`).join("")
            + `</table><p>The tick is chance, ${percent(chance)}. ${others} other held-out clips are of its class.</p>`
        const note = i => `look ${digits(found.seen[i])} · sound ${digits(found.heard[i])}`
        const same = i => labels[i] === labels[query], pressed = state.pressed >= 0 && state.pressed !== query
        find("#avid-ask").disabled = !pressed
        find("#avid-query").innerHTML = video(query, `query: ${name(query)}`, `clip ${query}`)
            + (pressed ? video(state.pressed, `pressed: ${name(state.pressed)}`, note(state.pressed), same(state.pressed), plays) : "")
        find("#avid-best").innerHTML = positives.slice(0, SHELF).map((i, place) => video(i, `${place + 1}. ${name(i)}`, note(i), same(i))).join("")
        Object.assign(shown, {positives, precision, chance})
    }

    function drawMap() {
        const {run} = state
        state.moment = Math.min(state.moment, last(run))
        const {step} = runs[run].snapshots[state.moment], found = maps(run, state.moment)
        const shape = labels.map(label => styles.classShapes[label])
        const plots = Object.entries(found).map(([side, places], column) => {
            const x = places.map(p => p[0]), y = places.map(p => p[1])
            const points = mark("Points", {x, y, kind: labels, shape, colours: styles.classColours, names: classes, radius: 4, travel: true})
            return plot({marks: [points], x: axis(...limits(x), "", "none"), y: axis(...limits(y), "", "none"), title: last(run) ? `${side} space · step ${step.toLocaleString("en")}` : `${side} space`, cell: [0, column, 1], equal: true})
        })
        const narrow = find("#avid-map").clientWidth < 520
        if (narrow) plots[1].cell = [1, 0, 1]
        mapCanvas.set("labels", labels.map((_, i) => `${name(i)}\nclip ${i}`))
        mapCanvas.set("_chart", {
            plots, about: "Maps of the video space and of the audio space.", height: narrow ? 620 : 380,
            columns: narrow ? [1] : [1, 1], rows: narrow ? [1, 1] : [1], legend: true,
        })
        find("#avid-film label").hidden = last(run) === 0
        find("#avid-play").textContent = last(run) ? "play the training" : `play the training of ${names[followed]}`
        find("[name=moment]").max = last(run)
        find("[name=moment]").value = state.moment
        Object.assign(shown, {step})
    }

    function drawPairs() {
        const {threshold, temperature} = state, chosen = state.before === state.after ? [state.after] : [state.before, state.after]
        const plots = [], curves = [mark("Line", {x: [0, 1], y: [0, 1], colour: "faint", width: 1.2, dash: [5, 4]})], table = []
        const narrow = find("#avid-pairs").clientWidth < 620
        chosen.forEach((run, column) => {
            const main = column === chosen.length - 1, style = {dash: main ? [] : [5, 4], width: main ? 2 : 1.3}
            if (chosen.length > 1) curves.push(mark("Line", {x: [], y: [], legend: names[run], ...style}))
            spaces.forEach((one, row) => {
                const [title, , , colour] = one, found = pairs(run, one), bin = FINE / SHOWN
                const heights = [found.different, found.same].map(all => [...Array(SHOWN).keys()].map(i => all.slice(i * bin, (i + 1) * bin).reduce((a, b) => a + b, 0)))
                const top = Math.max(...heights.flat()), marks = heights.map((high, i) => mark("Area", {
                    x: high.flatMap((_, j) => [-1 + 2 * j / SHOWN, -1 + 2 * (j + 1) / SHOWN]), y: high.flatMap(h => [h / top, h / top]),
                    base: 0, colour: i ? colour : "muted", alpha: 0.4,
                }))
                marks.push(mark("Guide", {at: threshold, colour: "ink", width: 1.6, dash: [], drag: [-1, 1, 0.01]}))
                marks.push(mark("Text", {x: 0, y: 0.94, words: title, colour, across: "share", up: "share", bold: true}))
                marks.push(mark("Text", {x: 0, y: 0.77, words: `AUC ${digits(found.auc)}`, colour: "muted", across: "share", up: "share"}))
                plots.push(plot({
                    marks, x: axis(-1, 1, row === 2 ? "cosine similarity" : ""), y: axis(0, 1.05, "", "none"),
                    title: row ? "" : names[run], cell: narrow ? [3 * column + row, 0, 1] : [row, column, 1],
                }))
                const {curve, error} = reliability(found, threshold, temperature), cut = Math.round((threshold + 1) / 2 * FINE)
                curves.push(mark("Line", {x: curve.map(p => p[0]), y: curve.map(p => p[1]), colour, name: title, dots: main ? 3.2 : 0, ...style}))
                const [hits, alarms] = [found.same, found.different].map(all => all.slice(cut).reduce((a, b) => a + b, 0))
                if (!row) table.push([names[run]])
                table.push([title, found.auc.toFixed(3), percent(hits), percent(alarms), error.toFixed(3)])
            })
        })
        const columns = chosen.length, cell = narrow ? [3 * columns, 0, 1] : [0, columns, 3]
        const [x, y] = [axis(0, 1, "predicted probability"), axis(0, 1, "share of same-class pairs")]
        plots.push(plot({marks: curves, x, y, title: "Reliability", legend: columns > 1 ? "inside" : "", cell}))
        const heads = ["", "AUC", "same above", "different above", "calibration error"]
        find("#avid-errors").innerHTML = `<table class="avid-numbers avid-right"><tr>${heads.map(head => `<th>${head}</th>`).join("")}</tr>`
            + table.map(row => `<tr>${row.length > 1 ? row.map(cell => `<td>${cell}</td>`).join("") : `<th colspan="5">${row[0]}</th>`}</tr>`).join("") + "</table>"
        pairCanvas.set("guide", threshold)
        pairCanvas.set("_chart", {
            plots, about: "Histograms of similarity of same-class and different-class pairs, and a reliability diagram.",
            height: narrow ? 130 * 3 * columns + 300 : 430, columns: narrow ? [1] : [...Array(columns).fill(5), 4],
            rows: narrow ? [...Array(3 * columns).fill(130), 300] : [1.13, 1, 1.12], legend: false,
        })
        Object.assign(shown, {calibration: table.filter(row => row.length > 1).map(row => Number(row.at(-1)))})
    }

    const shown = {}  // what the page shows now
    let due = new Set(), asked = 0
    function redraw(...parts) {
        parts.forEach(part => due.add(part))
        asked ||= requestAnimationFrame(() => {
            asked = 0
            const now = due
            due = new Set()
            if (now.has("positives")) drawPositives()
            if (now.has("map")) drawMap()
            if (now.has("pairs")) drawPairs()
            for (const input of document.querySelectorAll("#avid-explore [name]")) if (input !== document.activeElement) input.value = inputs[input.name].show()
            for (const output of document.querySelectorAll("#avid-explore output")) output.textContent = inputs[output.htmlFor.value].text()
            history.replaceState(null, "", `#${new URLSearchParams(state)}`)
        })
    }

    const number = (key, ...parts) => ({
        show: () => state[key], text: () => String(state[key]),
        take(value) { state[key] = Number(value); redraw(...parts) },
    })
    const inputs = {
        run: {...number("run"), take(value) { state.run = Number(value); state.moment = last(state.run); redraw("positives", "map") }},
        query: {...number("query"), take(value) { state.query = Math.min(COUNT - 1, Math.max(0, Math.round(Number(value) || 0))); state.pressed = -1; redraw("positives") }},
        k: number("k", "positives"),
        rule: {show: () => state.rule, text: () => state.rule, take(value) { state.rule = value; redraw("positives") }},
        moment: {...number("moment", "map"), text: () => `step ${runs[state.run].snapshots[state.moment].step.toLocaleString("en")}`},
        before: number("before", "pairs"),
        after: number("after", "pairs"),
        threshold: {...number("threshold", "pairs"), text: () => digits(state.threshold)},
        temperature: {show: () => Math.log10(state.temperature), text: () => state.temperature.toFixed(3), take(value) { state.temperature = 10 ** Number(value); redraw("pairs") }},
        space: number("space"),
    }
    for (const list of document.querySelectorAll("#avid-explore select")) {
        const options = {run: names, before: names, after: names, space: spaces.map(one => one[0])}[list.name]
        if (options) list.replaceChildren(...options.map((text, i) => new Option(text, i)))
    }
    for (const input of document.querySelectorAll("#avid-explore [name]"))
        for (const [event, act] of [["input", () => inputs[input.name].take(input.value)], ["change", () => { input.value = inputs[input.name].show() }]])
            input.addEventListener(event, act)  // once typed, a number out of range becomes the one that is used

    /** A clip that was pressed in either chart: both mark it, and it plays beside the query. */
    function press(i) {
        state.pressed = i
        for (const other of [planeCanvas, mapCanvas]) { other.set("clicked", i); other.set("selected", i < 0 ? [] : [i]) }
        drawPositives(i >= 0)
    }
    planeCanvas.on("change:clicked", () => { if (planeCanvas.get("clicked") !== state.pressed) press(planeCanvas.get("clicked")) })
    mapCanvas.on("change:clicked", () => { if (mapCanvas.get("clicked") !== state.pressed) press(mapCanvas.get("clicked")) })
    pairCanvas.on("change:guide", () => { if (pairCanvas.get("guide") !== state.threshold) { state.threshold = pairCanvas.get("guide"); redraw("pairs") } })
    find("#avid-other").addEventListener("click", () => inputs.query.take(Math.floor(Math.random() * COUNT)))
    find("#avid-ask").addEventListener("click", () => { if (state.pressed >= 0) inputs.query.take(state.pressed) })
    find("#avid-fit").addEventListener("click", () => {
        const found = pairs(state.after, spaces[state.space]), {poor, ...curve} = fit(found)
        Object.assign(state, curve)
        find("#avid-poor").textContent = poor ? `Similarity hardly tells the classes apart here (AUC ${digits(found.auc)}), so no threshold fits; this one comes closest.` : ""
        redraw("pairs")
    })
    let film = 0
    find("#avid-play").addEventListener("click", () => {
        clearInterval(film)
        if (last(state.run) === 0) inputs.run.take(followed)
        state.moment = 0
        redraw("map")
        film = setInterval(() => {
            if (state.moment >= last(state.run)) return clearInterval(film)
            state.moment++
            redraw("map")
        }, SPAN_MS)
    })
    // One clip is heard at a time, and Escape silences.
    const hush = but => { for (const one of document.querySelectorAll("#avid-explore video")) if (one !== but) one.pause() }
    document.addEventListener("play", event => hush(event.target), true)
    document.addEventListener("keydown", event => { if (event.key === "Escape") hush() })
    window.addEventListener("resize", () => redraw("map", "pairs"))
    window.avidExplore = {state, shown, rank, fit, pairs, spaces, inputs}
    redraw("positives", "map", "pairs")
})()
