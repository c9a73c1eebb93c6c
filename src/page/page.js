// What the pages can do beyond HTML: copy, and narrow long tables down.
"use strict";

for (const source of document.querySelectorAll("[data-copy]")) {
	const button = document.createElement("button");
	button.type = "button";
	button.textContent = "Copy";
	button.addEventListener("click", async () => {
		let done = "Copied";
		try {
			await navigator.clipboard.writeText(source.textContent);
		} catch {
			// Without TLS browsers give no clipboard: select it, so that one key is enough.
			getSelection().selectAllChildren(source);
			done = "Selected";
		}
		button.textContent = done;
		setTimeout(() => { button.textContent = "Copy"; }, 1500);
	});
	source.closest(".copy").append(button);
}

for (const table of document.querySelectorAll("table[data-filter]")) {
	const rows = [...table.tBodies[0].rows];
	if (rows.length < 15)
		continue;
	const field = document.createElement("input");
	field.type = "search";
	field.className = "filter";
	field.placeholder = `Filter ${rows.length} rows`;
	field.setAttribute("aria-label", "Filter the rows");
	field.addEventListener("input", () => {
		const wanted = field.value.toLowerCase();
		for (const row of rows)
			row.hidden = !row.textContent.toLowerCase().includes(wanted);
	});
	table.before(field);
}
