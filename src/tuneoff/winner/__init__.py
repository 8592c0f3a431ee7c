"""The winner of a study: saved in a form that other libraries load, checked in a fresh process,
merged, described, and put to work on new rows.

    export_winner(Path("runs/quickstart"))                  # tuneoff.winner.export
    predict(Path("runs/quickstart/winner"), Path("new.csv"))  # tuneoff.winner.predict
"""
